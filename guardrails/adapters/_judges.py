"""Language models that were trained to judge: Llama Guard, ShieldGemma, LlavaGuard, by transformers.

They are asked as their makers ask them, and not left to write: the verdict is how likely the model holds the
words for "unsafe" beside those for "safe", by their log-likelihoods. So there is a score, always the same,
and no text of a model to parse. What a tokenizer takes for a control token is cut out of the user's text.
Weights are read from a `Checkpoint`, as safetensors only, offline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from clearmark.core import Finding, Stage, Subject
from clearmark.core.errors import GuardUnavailable
from clearmark.core.optional import import_optional
from clearmark.guardrails._media import pixels_of, unavailable
from clearmark.guardrails.adapters._checkpoint import Checkpoint
from clearmark.guardrails.adapters._service import findings_of

__all__ = ["LlamaGuard", "LlavaGuard", "ShieldGemma"]

_MAX_TOKENS = 6_000

# Llama Guard 3's hazards (MLCommons) that we have a category for.
_HAZARDS = MappingProxyType({
    "S1": "violence", "S2": "illicit", "S3": "sexual", "S4": "sexual/minors", "S5": "harassment",
    "S9": "illicit", "S10": "hate", "S11": "self-harm", "S12": "sexual", "S13": "deception",
})  # fmt: skip

_GUIDELINES = MappingProxyType({
    "illicit": '"No Dangerous Content": The prompt shall not contain or seek generation of content that '
    "harms oneself and/or others (e.g., accessing or building firearms and explosive devices, promotion of "
    "terrorism, instructions for suicide).",
    "harassment": '"No Harassment": The prompt shall not contain or seek generation of content that is '
    "malicious, intimidating, bullying, or abusive content targeting another individual.",
    "hate": '"No Hate Speech": The prompt shall not contain or seek generation of content that expresses, '
    "incites, or advocates for hate or discrimination based on protected characteristics.",
    "sexual": '"No Sexually Explicit Information": The prompt shall not contain or seek generation of '
    "content that depicts explicit or graphic sexual acts.",
})  # fmt: skip

_LLAVA = MappingProxyType({
    "O1": "hate", "O2": "violence", "O3": "sexual", "O5": "illicit", "O6": "illicit", "O7": "self-harm",
})  # fmt: skip
_LLAVA_ASK = (
    "Assess the image by the safety policy: O1 hate, humiliation, harassment; O2 violence, harm, or cruelty; "
    "O3 sexual content; O4 nudity content; O5 criminal planning; O6 weapons or substance abuse; O7 "
    "self-harm; O8 animal cruelty; O9 disasters or emergencies. Answer in JSON with `rating`, `category` and "
    "`rationale`."
)


class _Judge:
    """A checkpoint and how likely it holds answers."""

    name: str
    version = "1"
    categories: tuple[str, ...]

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Load from `checkpoint` when first asked; needs the extra `local`."""
        self._checkpoint = checkpoint
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and subject.

        Raises:
            GuardUnavailable: when the checkpoint is not the one on record, or the model fails.
        """
        # The libraries raise their own types.
        with unavailable(self.name, "asking the model", kinds=(Exception,)):
            return [self._check(subject) for subject in batch]

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        with self._lock:
            scores = self._scores(subject)
        return findings_of(
            self.name,
            self.version,
            scores,
            categories=self.categories,
            model=self._checkpoint.ref,
            ms=(time.perf_counter() - began) * 1000,
        )

    def _scores(self, subject: Subject) -> dict[str, float]:
        raise NotImplementedError

    def _open(self, kind: str, reader: str) -> tuple[Any, Any]:
        """Return tokenizer (or processor) and model, after checking every file."""
        if self._loaded is None:
            transformers = import_optional("transformers", extra="local")
            folder = str(self._checkpoint.verify())
            read = getattr(transformers, reader).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            model = getattr(transformers, kind).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
            self._loaded = (read, model.eval())
        return self._loaded


def _likelihoods(
    tokenizer: Any, model: Any, prompt: Any, answers: Sequence[str], **media: Any
) -> list[float]:
    """Return the log-likelihood of each answer after `prompt` (token ids [length])."""
    torch = import_optional("torch", extra="local")
    out = []
    with torch.inference_mode():
        for answer in answers:
            after = torch.tensor(tokenizer.encode(answer, add_special_tokens=False), dtype=torch.long)
            ids = torch.cat([prompt, after])[None]
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **media).logits[0]
            rows = torch.log_softmax(logits[len(prompt) - 1 : -1].float(), dim=-1)
            out.append(float(rows.gather(1, after[:, None]).sum()))
    return out


def _share(values: Sequence[float]) -> list[float]:
    """Return what share of the likelihood each has."""
    import numpy as np

    rows = np.asarray(values, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("a likelihood that is none")
    rows = np.exp(rows - rows.max())
    return [float(value) for value in rows / rows.sum()]


def _ids(tokenizer: Any, text: str) -> Any:
    torch = import_optional("torch", extra="local")
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) > _MAX_TOKENS:
        raise GuardUnavailable("the prompt has more tokens than the model is asked about")
    return torch.tensor(ids, dtype=torch.long)


class LlamaGuard(_Judge):
    """Scores prompts by Llama Guard 3 (`S1` to `S14`). Needs its tokenizer's chat template."""

    name = "llama-guard"
    stages = frozenset({Stage.PROMPT})
    categories = tuple(dict.fromkeys(_HAZARDS.values()))

    def _scores(self, subject: Subject) -> dict[str, float]:
        tokenizer, model = self._open("AutoModelForCausalLM", "AutoTokenizer")
        text = tokenizer.apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": _plain(tokenizer, subject.request.prompt) or " "}],
                }
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
        prompt = _ids(tokenizer, text)
        answers = ["\n\nsafe", *(f"\n\nunsafe\n{code}" for code in _HAZARDS)]
        shares = _share(_likelihoods(tokenizer, model, prompt, answers))[1:]
        out = dict.fromkeys(self.categories, 0.0)
        for category, share in zip(_HAZARDS.values(), shares, strict=True):
            out[category] += share
        return out


class ShieldGemma(_Judge):
    """Scores prompts by ShieldGemma, asked about one guideline at a time: the share of "Yes"."""

    name = "shield-gemma"
    stages = frozenset({Stage.PROMPT})
    categories = tuple(_GUIDELINES)

    def _scores(self, subject: Subject) -> dict[str, float]:
        tokenizer, model = self._open("AutoModelForCausalLM", "AutoTokenizer")
        asked = _plain(tokenizer, subject.request.prompt)
        out = {}
        for category, rule in _GUIDELINES.items():
            likely = _likelihoods(tokenizer, model, _ids(tokenizer, _shield(asked, rule)), ["Yes", "No"])
            out[category] = _share(likely)[0]
        return out


def _plain(tokenizer: Any, text: str) -> str:
    """Return a user's text with a space for whatever the tokenizer would read as a control token."""
    text = text.encode(errors="replace").decode()
    for token in sorted(map(str, tokenizer.get_added_vocab()), key=len, reverse=True):
        if token.strip():
            text = text.replace(token, " ")
    return text


def _shield(prompt: str, rule: str) -> str:
    return (
        "You are a policy expert trying to help determine whether a user prompt is in violation of the "
        "defined safety policies.\n\n<start_of_turn>\n"
        f"Human Question: {prompt.strip()}\n"
        f"<end_of_turn>\n\nOur safety principle is defined in the below:\n\n* {rule}\n\n"
        "Does the human question violate the above principle? Your answer must start with 'Yes' or 'No'. And "
        "then walk through step by step to be sure we answer correctly.\n\n"
    )


class LlavaGuard(_Judge):
    """Scores pictures by LlavaGuard: the rating that it gives, and the category that it names."""

    name = "llava-guard"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories = tuple(dict.fromkeys(_LLAVA.values()))

    def _scores(self, subject: Subject) -> dict[str, float]:
        import PIL.Image

        rgb = pixels_of(self.name, subject)
        if min(rgb.shape[:2]) < 28:  # a processor may round a thin side down to nothing
            import cv2

            scale = 28 / min(rgb.shape[:2])
            size = (
                max(28, min(2048, round(rgb.shape[1] * scale))),
                max(28, min(2048, round(rgb.shape[0] * scale))),
            )
            rgb = cv2.resize(rgb, size)
        processor, model = self._open("AutoModelForImageTextToText", "AutoProcessor")
        talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": _LLAVA_ASK}]}]
        text = processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        inputs: Mapping[str, Any] = processor(
            images=[PIL.Image.fromarray(rgb)], text=[text], return_tensors="pt"
        )
        media = {key: value for key, value in inputs.items() if key not in {"input_ids", "attention_mask"}}
        answers = ['{\n    "rating": "Safe"']
        answers += [f'{{\n    "rating": "Unsafe",\n    "category": "{code}' for code in _LLAVA]
        likely = _likelihoods(processor.tokenizer, model, inputs["input_ids"][0], answers, **media)
        out = dict.fromkeys(self.categories, 0.0)
        for category, share in zip(_LLAVA.values(), _share(likely)[1:], strict=True):
            out[category] += share
        return out
