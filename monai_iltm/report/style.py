"""The look of the report."""

from __future__ import annotations

CSS = """
:root { --ink: #1c2733; --muted: #66727f; --rule: #e1e6eb; --soft: #f5f7f9; --blue: #1f5a92; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 20px 28px 60px; }
.use { margin: 0 0 26px; padding: 7px 12px; border-radius: 4px; background: #fff4e0; color: #7a4a06; font-size: 13px; }
h1 { margin: 0; font-size: 17px; font-weight: 600; color: var(--muted); }
.verdict { margin: 4px 0 6px; font-size: 27px; line-height: 1.25; font-weight: 650; letter-spacing: -0.01em; }
.shortfall { color: #b3261e; }
.accuracy { margin: 0; max-width: 900px; font-size: 16px; color: #3c4855; }
.tiles { display: flex; flex-wrap: wrap; gap: 36px; margin: 22px 0 8px; }
.tiles div { display: flex; flex-direction: column; }
.tiles b { font-size: 25px; line-height: 1.2; font-weight: 600; color: var(--blue);
  font-variant-numeric: tabular-nums; }
.tiles small { color: var(--muted); font-size: 12.5px; }
section { margin-top: 38px; }
h2 { margin: 0 0 12px; padding-top: 14px; border-top: 1px solid var(--rule); font-size: 19px; }
h3 { margin: 22px 0 6px; font-size: 15px; }
p { margin: 6px 0; }
.none { color: var(--muted); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide table { width: 100%; }
th, td { padding: 5px 7px; text-align: right; font-weight: 400; }
thead th { color: var(--muted); font-size: 12.5px; vertical-align: bottom; padding-bottom: 4px; }
thead .group { text-align: center; padding-left: 16px; }
thead tr:last-child th { border-bottom: 1px solid #b9c2cb; }
thead tr:first-child th[rowspan] { border-bottom: 1px solid #b9c2cb; }
tbody th, .pairs-table th { text-align: left; }
tbody tr + tr > *, .wide tr + tr > * { border-top: 1px solid #f0f3f5; }
.pair { padding-left: 16px; }
.one { text-align: center; }
.r { color: var(--muted); }
.aside > * { background: var(--soft); color: #4c5966; }
.aside > th:first-child { padding-left: 8px; }
tr:not(.aside) > th:first-child { padding-left: 8px; }
.last > * { font-weight: 650; background: #e9f1f9; }
.last .r { font-weight: 400; }
dl.legend { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 14px 0 8px; }
.legend, .legend dt, .legend dd { font-size: 13px; color: #4c5966; }
dt { font-weight: 600; }
dd { margin: 0; }
p.legend { max-width: 1000px; }
figure { margin: 0; }
figcaption { font-size: 13.5px; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 18px 22px; }
.chart { max-width: 400px; }
.chart svg { display: block; width: 100%; font-size: 11.5px; }
.bar { position: sticky; top: 0; z-index: 2; display: flex; gap: 12px; align-items: flex-start; padding: 8px 0 22px;
  background: #fff; font-size: 13px; color: #4c5966; border-bottom: 1px solid var(--rule); }
.strip { position: relative; flex: 0 1 420px; height: 14px; margin-top: 3px; border: 1px solid #cfd6dd; }
.tick { position: absolute; top: 15px; white-space: nowrap; font-size: 12px; line-height: 1.2; }
.tick.end { transform: translateX(-100%); }
.tick.mid { transform: translateX(-50%); }
.tick.mid::before { content: ""; position: absolute; left: 50%; top: -16px; height: 16px;
  border-left: 2px solid var(--ink); }
.case { display: grid; grid-template-columns: 132px repeat(5, 1fr); gap: 10px;
  margin-bottom: 10px; align-items: start; }
.case.head { margin: 0 0 4px; font-size: 12.5px; color: var(--muted); text-align: center; }
.label { font-size: 13px; overflow-wrap: anywhere; }
.label span { display: block; color: var(--muted); }
.label b { color: var(--ink); }
.label em { font-style: normal; }
.panel { display: flex; justify-content: center; }
.panel.none { padding-top: 30%; }
.frame { position: relative; outline: 1px solid #d5dbe1; }
.frame img { display: block; width: 100%; height: 100%; }
.solid + .solid { margin-top: 14px; padding-top: 14px; border-top: 1px solid var(--rule); }
.frame i { position: absolute; background: #1f5a92; }
.frame i.h { left: 0; width: 7%; height: 1.5px; box-shadow: 0 0 0 .5px #fff; }
.frame i.v { bottom: 0; height: 7%; width: 1.5px; box-shadow: 0 0 0 .5px #fff; }
.moves { display: grid; grid-template-columns: repeat(auto-fill, minmax(156px, 1fr)); gap: 12px; margin-top: 10px; }
.moves figcaption { margin-top: 4px; font-weight: 400; text-align: center; font-size: 12.5px; color: #4c5966; }
.key { margin-left: 12px; white-space: nowrap; font-size: 13px; }
.key i { display: inline-block; width: 11px; height: 11px; margin-right: 5px; border-radius: 2px; }
details { margin-top: 44px; padding-top: 14px; border-top: 1px solid var(--rule); }
summary { cursor: pointer; font-weight: 600; }
.pairs-table th { text-align: left; color: var(--muted); vertical-align: top; }
.pairs-table td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
footer { margin-top: 40px; color: var(--muted); font-size: 13px; }
@media print { .bar { position: static; } section, .case { break-inside: avoid; } }
"""
