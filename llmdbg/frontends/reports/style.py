"""The style sheet of reports, for light and dark screens and for phones."""

STYLE = """
:root{--bg:#fff;--fg:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--good:#1a7f37;--near:#8a5a00;
--bad:#cf222e;--accumulated:#0969da;--isolated:#bc4c00;--floor:#6e7781;--float64:#8250df;--mark:#ffe9a8;
--h0:#eef3fa;--h1:#dbe7f6;--h2:#c3d7f0;--h3:#a5c2e8;--h4:#80a8dd;--h5:#5b8bce;--h6:#3b6db6;--h7:#265194;--h8:#173a70}
@media (prefers-color-scheme:dark){
:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9198a1;--line:#3d444d;--card:#161b22;--good:#3fb950;--near:#d29922;
--bad:#ff7b72;--accumulated:#58a6ff;--isolated:#f0883e;--floor:#9198a1;--float64:#bc8cff;--mark:#5c4700;
--h0:#13202f;--h1:#172b43;--h2:#1b3858;--h3:#20466f;--h4:#285889;--h5:#356da6;--h6:#4a86c4;--h7:#6fa5dd;--h8:#a3c9f2}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1100px;margin:0 auto;padding:1.2rem 1rem 3rem}
h1{font-size:1.25rem;margin:0 0 .6rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}
p{margin:.3rem 0}.soft,caption,figcaption{color:var(--soft);font-size:.87rem}
.verdict{border-left:.35rem solid var(--bad);background:var(--card);padding:.7rem .9rem;border-radius:.3rem;
font-size:1.05rem;overflow-wrap:anywhere;margin-bottom:.8rem}
.verdict.same{border-color:var(--good)}.verdict.near{border-color:var(--near)}
code,pre,.num,td,.text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86rem}
.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{font-size:.8rem;color:var(--soft);font-weight:600;position:sticky;top:0;background:var(--bg)}
th:first-child{text-align:left}
tbody th{font-weight:400;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86rem}
.findings li{margin:.45rem 0}.findings b{font-weight:600}
td.off{color:var(--bad)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:.8rem}
.card{border:1px solid var(--line);border-radius:.4rem;padding:.6rem .8rem;background:var(--card);min-width:0}
.card h3{margin:0 0 .3rem;font-size:.85rem;color:var(--soft)}
.text{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}.text .alike{color:var(--soft)}
mark{background:var(--mark);color:inherit;border-radius:.15rem;padding:0 .1rem;outline:1px solid var(--near)}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--accumulated)}
figure{margin:0}svg{display:block;min-width:640px;width:100%;height:auto}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg .grid{stroke:var(--line)}
svg .curve{fill:none;stroke-width:1.8}svg .first{stroke:var(--bad);stroke-dasharray:2 3}
svg text.first{fill:var(--bad);stroke:none}
.accumulated{stroke:var(--accumulated)}.isolated{stroke:var(--isolated)}
.floor{stroke:var(--floor);stroke-dasharray:6 3}.float64{stroke:var(--float64);stroke-dasharray:2 2}
circle.accumulated{fill:var(--accumulated)}circle.isolated{fill:var(--isolated)}
.heat td{padding:.1rem .3rem;font-size:.72rem;text-align:center;border:1px solid var(--bg);min-width:2.9rem}
.heat th{border:0;padding:.1rem .5rem}
.heat thead th{text-align:center;max-width:6rem;overflow:hidden;text-overflow:ellipsis}
.heat thead th:first-child{text-align:left}
.h0{background:var(--h0)}.h1{background:var(--h1)}.h2{background:var(--h2)}.h3{background:var(--h3)}
.h4{background:var(--h4)}.h5{background:var(--h5);color:#fff}.h6{background:var(--h6);color:#fff}
.h7{background:var(--h7);color:#fff}.h8{background:var(--h8);color:#fff}
.hx{background:var(--bad);color:#fff}
@media (prefers-color-scheme:dark){.h7,.h8{color:#0d1117}}
.heat tr.first th{color:var(--bad);font-weight:700}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:center}
.legend svg{display:inline-block;min-width:0;width:26px;height:10px}
ul,ol{padding-left:1.2rem;margin:.3rem 0}li{overflow-wrap:anywhere}
"""
