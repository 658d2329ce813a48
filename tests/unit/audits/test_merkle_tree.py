"""The Merkle tree: RFC 6962 by its own definition, proofs that hold, and none that can be forged."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.audits.ledger import _merkle as merkle
from clearmark.audits.ledger._tree import TILE_WIDTH, Tree


def by_definition(leaves):
    """MTH of RFC 6962, section 2.1, written as it stands there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:split]) + by_definition(leaves[split:])).digest()


LEAVES = [merkle.hash_leaf(b"%d" % number) for number in range(700)]


def grown(size, step=97):
    tiles = {}
    tree = Tree.load(0, edge=lambda *_: [], read_tile=lambda level, number: tiles[level, number])
    for at in range(0, size, step):
        tree, made = tree.extend(LEAVES[at : min(at + step, size)])
        tiles.update({(tile.level, tile.number): tile.hashes for tile in made})
    return tree, tiles


def test_known_roots_of_rfc_6962_vectors():
    # The eight inputs and roots that certificate transparency implementations share.
    inputs = [
        b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno",
    ]  # fmt: skip
    inputs[3], inputs[4] = bytes.fromhex("2021"), bytes.fromhex("3031")
    inputs[5], inputs[6] = bytes.fromhex("40414243"), bytes.fromhex("5051525354555657")
    inputs[7] = bytes.fromhex("606162636465666768696a6b6c6d6e6f")
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    edge = merkle.Frontier()
    for data, root in zip(inputs, roots, strict=True):
        edge.append(merkle.hash_leaf(data))
        assert edge.root().hex() == root


def test_root_follows_the_definition():
    tree, _ = grown(0)
    assert tree.root() == by_definition([])
    for size in [*range(1, 40), 255, 256, 257, 511, 512, 513, 700]:
        tree, _ = grown(size)
        assert tree.root() == by_definition(LEAVES[:size])
        assert tree.roots(size // 2) == by_definition(LEAVES[: size // 2])


@given(st.integers(1, 700), st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_hold_and_their_neighbours_do_not(size, data):
    tree, _ = grown(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, tree.node)
    root = tree.root()
    assert merkle.verify_inclusion(LEAVES[index], index, size, proof, root)
    assert len(proof) <= (size - 1).bit_length()
    assert not merkle.verify_inclusion(merkle.hash_leaf(b"other"), index, size, proof, root)
    assert not merkle.verify_inclusion(LEAVES[index], index, size, [*proof, root], root)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        bit = data.draw(st.integers(0, 255))
        wrong = int.from_bytes(proof[at], "big") ^ (1 << bit)
        assert not merkle.verify_inclusion(
            LEAVES[index], index, size, [*proof[:at], wrong.to_bytes(32, "big"), *proof[at + 1 :]], root
        )
        assert not merkle.verify_inclusion(LEAVES[index], index, size, proof[:-1], root)
    other = data.draw(
        st.integers(0, size - 1).filter(lambda value: value != index) if size > 1 else st.just(-1)
    )
    assert not merkle.verify_inclusion(LEAVES[index], other, size, proof, root)


@given(st.integers(0, 700), st.integers(0, 700), st.data())
@settings(max_examples=60, deadline=None)
def test_consistency(one, two, data):
    first, second = sorted((one, two))
    tree, _ = grown(second)
    old, new = by_definition(LEAVES[:first]), tree.root()
    proof = merkle.consistency_proof(first, second, tree.node)
    assert merkle.verify_consistency(first, second, old, new, proof)
    assert not merkle.verify_consistency(first, second, merkle.hash_leaf(b"x"), new, proof)
    if 0 < first < second:
        assert not merkle.verify_consistency(first, second, old, merkle.hash_leaf(b"x"), proof)
        assert not merkle.verify_consistency(first, second, old, new, proof[:-1])
        assert not merkle.verify_consistency(first, second, old, new, [*proof, old])
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not merkle.verify_consistency(
            first, second, old, new, [*proof[:at], merkle.hash_leaf(b"y"), *proof[at + 1 :]]
        )


@given(
    st.integers(-5, 2**70),
    st.integers(-5, 2**70),
    st.lists(st.binary(max_size=40), max_size=70),
    st.binary(max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_hostile_proofs_are_refused_and_never_raise(index, size, proof, root):
    assert not merkle.verify_inclusion(root, index, size, proof, merkle.hash_leaf(b"root"))
    if size != 0:
        assert not merkle.verify_consistency(
            index, size, merkle.hash_leaf(b"a"), merkle.hash_leaf(b"b"), proof
        )


def test_tree_is_the_same_after_loading():
    size = 2 * TILE_WIDTH + 77
    tree, tiles = grown(size)

    def edge(level, start, count):
        if level == 0:
            return LEAVES[:size][start : start + count]
        return [merkle.root_of([raw[at : at + 32] for at in range(0, len(raw), 32)])
                for (at_level, number), raw in sorted(tiles.items())
                if at_level == level - 1 and number >= start][:count]  # fmt: skip

    loaded = Tree.load(size, edge=edge, read_tile=lambda level, number: tiles[level, number])
    assert loaded.root() == tree.root()
    assert loaded.extend([LEAVES[-1]])[0].root() == tree.extend([LEAVES[-1]])[0].root()


def test_a_proof_in_a_tree_of_a_billion_is_below_one_kilobyte():
    # Made without the leaves: every complete subtree of one level is alike when all leaves are.
    levels = [merkle.hash_leaf(b"same")]
    for _ in range(32):
        levels.append(merkle.hash_node(levels[-1], levels[-1]))
    size = 10**9
    proof = merkle.inclusion_proof(123_456_789, size, lambda level, _: levels[level])
    edge = merkle.Frontier(size, [levels[bit] for bit in reversed(range(30)) if size >> bit & 1])
    assert merkle.verify_inclusion(levels[0], 123_456_789, size, proof, edge.root())
    assert sum(len(item) for item in proof) <= 1024
