"""The style sheet of a report. Marks keep 3 : 1 against the ground, text 4.5 : 1 (WCAG 2.2, AA)."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DARK", "LIGHT", "STYLE"]

LIGHT: Mapping[str, str] = {
    "ground": "#ffffff",
    "raised": "#f5f7f9",
    "line": "#d5dbe1",
    "text": "#1a2026",
    "muted": "#55606b",
    "link": "#0b5cad",
    "allow": "#2f7fc1",
    "label": "#138a83",
    "blur": "#6c7f1f",
    "regenerate": "#a8730a",
    "review": "#7b57c8",
    "block": "#c2413a",
    "failed": "#7a848e",
}

DARK: Mapping[str, str] = {
    "ground": "#11161b",
    "raised": "#1a2128",
    "line": "#36414b",
    "text": "#e7ebef",
    "muted": "#a3afba",
    "link": "#7cb8f2",
    "allow": "#4d9be0",
    "label": "#2fb3aa",
    "blur": "#9db04a",
    "regenerate": "#d79b32",
    "review": "#a688ec",
    "block": "#ee6a62",
    "failed": "#8c97a2",
}


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


STYLE = (
    f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
"""
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; background: var(--ground);
  color: var(--text); font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .35rem; }
p { margin: 0 0 .9rem; max-width: 46rem; }
a { color: var(--link); }
a:focus-visible, .scroll:focus-visible, pre:focus-visible, summary:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px; }
code, pre { font: .85em/1.5 ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono", monospace; }
.hash { overflow-wrap: anywhere; }
.lead { color: var(--muted); }
.lead strong { color: var(--text); }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--ground); padding: .5rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: .75rem; margin: 1.5rem 0; }
.tile { display: flex; flex-direction: column-reverse; justify-content: flex-end; padding: .8rem .9rem;
  background: var(--raised); border-radius: .5rem; }
.tile dt { color: var(--muted); font-size: .85rem; line-height: 1.35; }
.tile dd { margin: 0 0 .15rem; font-size: 1.6rem; line-height: 1.2; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.tile a { color: inherit; text-decoration: none; }
.tile a:hover { text-decoration: underline; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; list-style: none; margin: 0; padding: 0;
  font-size: .92rem; }
section, footer { margin-top: 2.75rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
.plot { margin: 1rem 0 1.25rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--text); font-size: 12px; font-family: inherit; }
svg .tick { fill: var(--muted); font-size: 11px; }
svg .value { fill: var(--muted); font-variant-numeric: tabular-nums; }
svg text.label { paint-order: stroke; stroke: var(--ground); stroke-width: 4px; stroke-linejoin: round; }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg rect { stroke: var(--ground); stroke-width: 1; }
svg .span { stroke: var(--muted); stroke-width: 3; stroke-linecap: round; }
svg circle { stroke: var(--ground); stroke-width: 1.5; }
.allow, .released, .point, .p50 { fill: var(--allow); background: var(--allow); }
.label:not(text) { fill: var(--label); background: var(--label); }
.blur { fill: var(--blur); background: var(--blur); }
.regenerate, .p90 { fill: var(--regenerate); background: var(--regenerate); }
.review { fill: var(--review); background: var(--review); }
.block, .refused, .p99 { fill: var(--block); background: var(--block); }
.failed { fill: var(--failed); background: var(--failed); }
.key.span { background: var(--muted); height: .25rem; }
svg.narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; margin: 0 0 .6rem; padding: 0;
  font-size: .85rem; color: var(--muted); }
.legend li { display: flex; align-items: center; gap: .4rem; }
.key { width: .8rem; height: .8rem; border-radius: .15rem; }
.key.point, .key.p50, .key.p90, .key.p99 { border-radius: 50%; }
.scroll { --shade: rgb(128 128 128 / .4); --sides:
  linear-gradient(to right, var(--ground) 40%, transparent) left / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--ground) 40%, transparent) right / 2rem 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) left / .8rem 100% no-repeat,
  linear-gradient(to left, var(--shade), transparent) right / .8rem 100% no-repeat;
  overflow-x: auto; width: fit-content; min-width: min(100%, 24rem); max-width: 100%;
  background: var(--sides); }
.scroll.tall { max-height: 26rem; overflow-y: auto; background:
  linear-gradient(to top, var(--ground) 40%, transparent) bottom / 100% 2rem no-repeat local, var(--sides),
  linear-gradient(to top, var(--shade), transparent) bottom / 100% .8rem no-repeat; }
table { border-collapse: collapse; min-width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .32rem 1.6rem .32rem 0; font-weight: 400;
  border-bottom: 1px solid var(--line); unicode-bidi: isolate; overflow-wrap: break-word; max-width: 22rem; }
thead th { color: var(--muted); font-size: .82rem; white-space: nowrap; position: sticky; top: 0;
  background: var(--ground); }
.n { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
th:last-child, td:last-child { padding-right: .25rem; }
.note, .empty { color: var(--muted); font-size: .9rem; }
details { margin-top: .8rem; font-size: .9rem; }
summary { color: var(--muted); cursor: pointer; width: fit-content; }
pre { overflow-x: auto; padding: .8rem; background: var(--raised); border-radius: .4rem; }
.facts { display: grid; gap: .5rem; margin: 0; font-size: .9rem; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; }
@media (max-width: 36rem) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  svg.wide { display: none; }
  svg.narrow { display: block; }
  .tiles { grid-template-columns: 1fr 1fr; }
  th, td { padding-right: 1rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: .9rem; }
  .scroll, .scroll.tall { max-height: none; background: none; }
  nav, .skip { display: none; }
  section { break-inside: avoid-page; }
}
"""
)
