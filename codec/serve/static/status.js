"use strict";
// server-sent events -> the parts of the page and its two charts; without this script the page is
// whole, and loads itself anew
(() => {
  const KEPT = 180; // points of a chart, as the server keeps them
  const live = document.getElementById("live");
  const section = document.querySelector(".charts");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let points = [], charts = [], source = null;

  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const columns = () => {
    const column = i => points.map(point => point[i]);
    return [[column(0), column(1), column(2)], [column(0), column(3), column(4)]];
  };

  function chart(id, names, digits) {
    const holder = document.getElementById(id);
    holder.replaceChildren();
    const axis = {stroke: colour("--quiet"), grid: {stroke: colour("--line"), width: 1},
                  ticks: {stroke: colour("--line"), width: 1}};
    const lines = names.map((label, i) => ({
      label, stroke: colour(i ? "--second" : "--first"), width: 2, points: {show: points.length < 3},
      dash: i ? [6, 3] : undefined,
      value: (_, v) => v == null ? "–" : v.toLocaleString("en", {maximumFractionDigits: digits}),
    }));
    const options = {
      width: holder.clientWidth, height: 180, series: [{value: "{HH}:{mm}:{ss}"}, ...lines],
      axes: [{...axis, space: 60, values: (_, ticks) => ticks.map(
        t => new Date(1000 * t).toLocaleTimeString([], {hourCycle: "h23"}))},
        {...axis, size: 56}],
      scales: {y: {range: (_, low, high) => [0, (high || 1) * 1.1]}},
      cursor: {drag: {x: false, y: false}},
    };
    return new uPlot(options, [[], [], []], holder);
  }

  function draw(anew) {
    section.hidden = points.length < 2;
    if (section.hidden) return;
    if (anew || !charts.length) {
      charts.forEach(one => one.destroy());
      charts = [chart("rates", ["blobs", "pictures"], 1), chart("times", ["median", "95%"], 1)];
    }
    columns().forEach((data, i) => {
      charts[i].setData(data);
      const latest = {idx: points.length - 1};
      setTimeout(() => charts[i].cursor.idx == null && charts[i].setLegend(latest));
    });
  }

  function told(event) {
    const news = JSON.parse(event.data);
    for (const [id, html] of Object.entries(news.parts)) document.getElementById(id).innerHTML = html;
    points = (news.all ? news.points : points.concat(news.points)).slice(-KEPT);
    live.textContent = "live";
    draw(false);
  }

  function listen() {
    if (source || document.hidden) return;
    source = new EventSource("events");
    source.addEventListener("status", told);
    source.onerror = () => {
      live.textContent = "not connected";
      if (source && source.readyState === EventSource.CLOSED) { // refused: the browser gives up
        source = null;
        setTimeout(listen, 15000);
      }
    };
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source) {
      source.close();
      source = null;
    }
    listen();
  });
  dark.addEventListener("change", () => draw(true));
  let width = innerWidth;
  addEventListener("resize", () => { // a phone also resizes when its address bar goes
    if (width !== innerWidth) draw(true);
    width = innerWidth;
  });
  listen();
})();
