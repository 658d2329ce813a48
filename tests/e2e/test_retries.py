"""A refused idea that comes back: in other words, from somebody else, after the person was erased."""

import pytest


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    from tests.e2e.conftest import Shell

    folder = tmp_path_factory.mktemp("retries")
    return Shell(folder=folder, home=folder / "home")


def rules(shell, prompt, actor):
    done = shell("generate", prompt, "--actor", actor, "--json", "--out", "out")
    assert done.code == 3, done.err
    return {reason["rule"] for reason in done.json["reasons"]}


def test_a_retry_is_found_for_the_person_and_gone_when_erased(shell):
    refused = "a naked woman lying on a bed, explicit"
    reworded = "undressed girl resting on a bed, erotic photo"
    assert "retry-of-refused" not in rules(shell, refused, "ada")
    assert "retry-of-refused" in rules(shell, reworded, "ada")
    assert "retry-of-refused" not in rules(shell, reworded, "bob")
    assert (shell.home / "sessions.db").exists()
    assert shell("ledger", "erase", "ada").code == 0
    assert "retry-of-refused" not in rules(shell, reworded, "ada")


def test_a_list_of_concepts_in_the_state_folder_counts(shell):
    prompt = "a water tower above the town of quiet gardens"
    assert shell("check", "prompt", prompt, "--json").code == 0
    shell.home.mkdir(exist_ok=True)
    (shell.home / "concepts.yaml").write_text(
        "concepts: [{name: the tower, category: illicit, says: [a water tower above our town]}]\n"
    )
    done = shell("check", "prompt", prompt, "--json")
    assert done.code == 3
    assert any(f["guard"] == "concepts" and f["score"] >= 0.5 for f in done.json["findings"])
    (shell.home / "concepts.yaml").write_text("concepts: nonsense\n")
    assert shell("check", "prompt", prompt).code != 0
