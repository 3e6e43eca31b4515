-- The dashboard's style: light and dark, by the system's wish or the button's.
return [==[:root {
  color-scheme: light;
  --back: #f7f8fa; --paper: #fff; --ink: #1b2230; --soft: #667085; --line: #d9dee7; --mark: #0b6bcb; --good: #1a7f4b;
  --bad: #c4321c; --warn: #9a6700;
}
:root[data-theme="dark"] {
  color-scheme: dark;
  --back: #10151d; --paper: #171e29; --ink: #e6eaf2; --soft: #97a3b6; --line: #2b3545; --mark: #5aa9f7; --good: #4cc38a;
  --bad: #ff7b6b; --warn: #e2b340;
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
header { display: flex; gap: 1rem; align-items: center; padding: .6rem 1rem; background: var(--paper);
  border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 1; flex-wrap: wrap; }
h1 { font-size: 1.05rem; margin: 0; }
h2 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
nav { display: flex; gap: .2rem; flex: 1; flex-wrap: wrap; }
button, select, input, textarea { font: inherit; color: inherit; background: var(--paper); border-radius: 6px;
  border: 1px solid var(--line); padding: .25rem .6rem; }
button { cursor: pointer; }
nav button { border-color: transparent; background: none; }
nav button[aria-selected="true"] { border-color: var(--mark); color: var(--mark); }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 1px; }
#state { color: var(--soft); }
#state.bad { color: var(--bad); }
main { padding: 1rem; max-width: 90rem; margin: auto; }
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); }
figure { margin: 0; background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; }
figcaption { color: var(--soft); }
figcaption b { color: var(--ink); float: right; font-variant-numeric: tabular-nums; }
canvas { width: 100%; height: 90px; display: block; margin-top: .4rem; }
table { width: 100%; border-collapse: collapse; background: var(--paper); border: 1px solid var(--line); }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.ready, .running, .healthy { color: var(--good); }
.failed, .closed { color: var(--bad); }
.draining { color: var(--warn); }
.row, #filter { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin-bottom: .6rem; }
.gap { flex: 1; }
textarea { width: 100%; min-height: 22rem; font: 13px/1.45 ui-monospace, monospace; }
pre, #lines { font: 12px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
#message { min-height: 1.4em; }
#message.bad { color: var(--bad); }
#message.good { color: var(--good); }
#lines { list-style: none; padding: 0; margin: 0; }
#lines li { border-bottom: 1px solid var(--line); padding: .1rem 0; }
#lines .warn { color: var(--warn); }
#lines .error { color: var(--bad); }
svg { max-width: 100%; height: auto; }
svg rect { fill: var(--paper); stroke: var(--line); }
svg .healthy rect { stroke: var(--good); }
svg .failed rect { stroke: var(--bad); stroke-width: 2; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); font-size: 11px; }
svg path { fill: none; stroke: var(--soft); }
]==]
