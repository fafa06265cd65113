// The history of the fleet as a chart that can be read point by point, in place of the picture that the server drew.
"use strict";
(() => {
  const states = ["trusted", "warning", "untrusted", "stale", "never-attested", "unsupported"];
  const names = ["Trusted", "Warning", "Untrusted", "Stale", "Never attested", "Unsupported"];
  let plot = null, drawn = "";

  // colour resolves a CSS variable, also one that depends on light and dark.
  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = "var(" + name + ")";
    document.body.append(probe);
    const c = getComputedStyle(probe).color;
    probe.remove();
    return c;
  }
  const two = (n) => String(n).padStart(2, "0");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const hour = (t) => { const d = new Date(t * 1e3); return two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()); };
  const day = (t) => { const d = new Date(t * 1e3); return d.getUTCDate() + " " + months[d.getUTCMonth()]; };
  const stamp = (t) => day(t) + " " + hour(t) + " UTC";
  function draw(force) {
    const box = document.getElementById("chart");
    if (!box || typeof uPlot === "undefined") return;
    if (!force && drawn === box.dataset.history && plot && box.contains(plot.root)) return;
    const h = JSON.parse(box.dataset.history);
    drawn = box.dataset.history;
    const count = (s, i) => (h.states[s] || [])[i] || 0;
    const data = [h.at], bands = [], series = [{ label: "Time", value: (u, v) => v === null ? "–" : stamp(v) }];
    const sums = h.at.map(() => 0);
    states.forEach((s, k) => {
      h.at.forEach((_, i) => { sums[i] += count(s, i); });
      data.push(sums.slice());
      if (k) bands.push({ series: [k + 1, k] });
    });
    states.forEach((s, k) => {
      const fill = colour("--" + s + "-fill");
      series.push({ label: names[k], stroke: fill, fill, width: 0.5, points: { show: false }, value: (u, v, j, i) => i === null ? "–" : count(s, i).toLocaleString("en") });
    });
    // Areas are drawn from the top one down, so that each covers what lies below its own line.
    const muted = colour("--muted"), line = colour("--line");
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
    const options = {
      width: box.clientWidth, height: 220, bands, series, legend: { live: true },
      cursor: { points: { show: false }, y: false },
      scales: { y: { range: (u, min, max) => [0, Math.max(1, max * 1.05)] } },
      axes: [{ ...axis, space: 70, values: (u, v, i, space, step) => v.map((t) => step >= 86400 ? day(t) : hour(t)) }, { ...axis, size: 48, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5], values: (u, v) => v.map((n) => n.toLocaleString("en")) }],
      tzDate: (t) => uPlot.tzDate(new Date(t * 1e3), "Etc/UTC"),
    };
    box.replaceChildren();
    plot = new uPlot(options, data, box);
    const legend = box.parentElement.querySelector(".legend");
    if (legend) legend.hidden = true;
  }
  new ResizeObserver(() => {
    const box = document.getElementById("chart");
    if (plot && box && box.contains(plot.root) && plot.width !== box.clientWidth) plot.setSize({ width: box.clientWidth, height: 220 });
  }).observe(document.querySelector("main"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  document.body.addEventListener("htmx:afterSettle", () => draw(false));
  draw(true);
})();
