"""How a report looks: light and dark, from 360 pixels of width to paper."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c1d21;--soft:#5c6068;--line:#d9dbe0;
--tint:#f4f5f7;--right:#00734f;--wrong:#b3261e;--genuine:#0072b2;--impostor:#c4500a;
--s0:#0072b2;--s1:#c4500a;--s2:#007a5a;--s3:#a3478b;--s4:#6b6f78;--s5:#8a6d00}
@media (prefers-color-scheme:dark){:root{--paper:#16171a;--ink:#e8e9ec;--soft:#a3a7b0;
--line:#3a3d44;--tint:#202227;--right:#4ccf9f;--wrong:#ff8a80;--genuine:#64b9ee;
--impostor:#f39a4d;--s0:#64b9ee;--s1:#f39a4d;--s2:#4ccf9f;--s3:#e29bd0;--s4:#a3a7b0;--s5:#e0c050}}
*{box-sizing:border-box}
body{margin:0 auto;padding:16px;max-width:1120px;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.2em 0 .6em}
h2{font-size:1.2rem;margin:2em 0 .5em;border-bottom:1px solid var(--line);padding-bottom:.2em}
h3{font-size:1rem;margin:1.4em 0 .4em}
p{max-width:75ch;margin:.4em 0}
.soft,figcaption small{color:var(--soft)}
.note{border-left:3px solid var(--impostor);background:var(--tint);padding:.4em .8em;
max-width:none}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
table{margin:.8em 0 1.4em;border-collapse:collapse;width:100%;max-width:900px;
font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3em 0}
caption small{font-weight:400;color:var(--soft)}
th,td{padding:.3em .5em;text-align:right;vertical-align:top;border-top:1px solid var(--line)}
thead th{white-space:nowrap;border-top:0;color:var(--soft);font-weight:500}
th:first-child{text-align:left;font-weight:500}
th small,td small{display:block;color:var(--soft);font-weight:400;font-size:.8em}
tr.published{background:var(--tint)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));gap:16px}
figure{margin:0;break-inside:avoid}
figcaption{font-weight:600}
svg{display:block;width:100%;height:auto}
svg text{font-size:11px;fill:var(--soft)}
.rule{stroke:var(--line);stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.area{fill-opacity:.3;stroke-width:1.5}
.area.genuine{fill:var(--genuine);stroke:var(--genuine)}
.area.impostor{fill:var(--impostor);stroke:var(--impostor);stroke-dasharray:4 2}
.series0{stroke:var(--s0)}
.series1{stroke:var(--s1);stroke-dasharray:7 3}
.series2{stroke:var(--s2);stroke-dasharray:2 3}
.series3{stroke:var(--s3);stroke-dasharray:9 3 2 3}
.series4{stroke:var(--s4);stroke-dasharray:4 4}
.series5{stroke:var(--s5);stroke-dasharray:12 4}
.legend li{padding-left:30px;text-indent:-30px}
.legend{list-style:none;margin:.2em 0 0;padding:0;font-size:.85em}
.swatch{display:inline-block;width:22px;margin-right:.5em;vertical-align:middle;
border-top:3px solid}
.swatch.series0{border-color:var(--s0)}
.swatch.series1{border-color:var(--s1);border-top-style:dashed}
.swatch.series2{border-color:var(--s2);border-top-style:dotted}
.swatch.series3{border-color:var(--s3);border-top-style:dashed}
.swatch.series4{border-color:var(--s4);border-top-style:dashed}
.swatch.series5{border-color:var(--s5);border-top-style:dashed}
.swatch.genuine{border-color:var(--genuine)}
.swatch.impostor{border-color:var(--impostor);border-top-style:dashed}
.strip{border-top:1px solid var(--line);padding:.6em 0;break-inside:avoid}
.crops{display:flex;flex-wrap:wrap;gap:8px 6px;margin-top:.3em}
.crop{width:84px;margin:0;font-size:.75em;line-height:1.3;text-align:center;break-inside:avoid}
.crop figcaption{font-weight:400}
.crop img{display:block;margin:0 auto 2px;max-width:100%;border:3px solid var(--line);
border-radius:3px}
.crop.query{margin-right:10px}
.crop.right img{border-color:var(--right)}
.crop.wrong img{border-color:var(--wrong);border-style:dashed}
.mark,.fact{display:block}
.mark{font-weight:600;white-space:nowrap}
.right .mark{color:var(--right)}
.wrong .mark{color:var(--wrong)}
.pair{width:auto;max-width:150px}
.pair .both{display:flex;gap:3px;justify-content:center}
.pair img{border-width:1px;margin:0 0 2px;min-width:0}
@media (max-width:640px){
body{padding:10px;font-size:14px}
table.figures tr{display:grid;grid-template-columns:repeat(6,1fr)}
table.figures th:first-child{grid-column:1/-1;padding:.3em 0 0}
table.figures td,table.figures thead th{padding:.2em 0}
table.figures td,table.figures th:not(:first-child){border-top:0;text-align:left}
table.figures thead th:first-child{display:none}
table.figures thead th{font-size:.85em}
dl{grid-template-columns:1fr}
dd{margin-bottom:.4em}
}
@media print{
:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--tint:#f2f2f2;
--right:#00734f;--wrong:#b3261e;--genuine:#0072b2;--impostor:#c4500a;
--s0:#0072b2;--s1:#c4500a;--s2:#007a5a;--s3:#a3478b;--s4:#6b6f78;--s5:#8a6d00}
body{max-width:none;padding:0;font-size:10pt;print-color-adjust:exact}
.crop{width:58px;font-size:6.5pt}
.crops{gap:6px 4px}
.pair{width:auto;max-width:90px}
h2,h3{break-after:avoid}
}
"""
