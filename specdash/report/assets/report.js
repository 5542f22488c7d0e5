"use strict";
// Draws the figures, keeps them as wide as their places, and copies commands. Colours of text and grid are the style
// sheet's, so that a change of scheme, or print, needs no new drawing.
(() => {
  const NARROW_PX = 480, PRINT_PX = 680, PRINT_CARD_PX = 325;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const config = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false, showTips: false };
  const grid = { gridcolor: "#8883", zerolinecolor: "#8886", fixedrange: true, ticks: "" };
  const font = { family: 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif', size: 12 };
  const widths = new WeakMap();
  let printing = false;

  const layoutOf = (figure, width) => {
    const layout = structuredClone(figure.layout);
    layout.xaxis = { ...grid, ...layout.xaxis };
    layout.yaxis = { ...grid, ...layout.yaxis };
    if (figure.narrow && width < NARROW_PX) layout.yaxis.ticktext = figure.narrow;
    return {
      showlegend: false, hovermode: "closest", dragmode: false, autosize: false, font,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", ...layout, width,
    };
  };
  const widthOf = (chart) => {
    if (printing) return chart.closest(".cards:not(.wide), .pairs") ? PRINT_CARD_PX : PRINT_PX;
    return chart.clientWidth || 600; // in something folded there is no width yet
  };
  const draw = (chart) => {
    const figure = figures[charts.indexOf(chart)], width = widthOf(chart);
    if (widths.get(chart) === width) return null;
    widths.set(chart, width);
    return Plotly.react(chart, figure.data, layoutOf(figure, width), config);
  };
  const drawSeen = () => charts.forEach((chart) => { if (printing || chart.clientWidth) draw(chart); });

  const seen = charts.filter((chart) => chart.clientWidth), folded = charts.filter((chart) => !chart.clientWidth);
  const queue = [...seen, ...folded];
  const next = () => {
    const chart = queue.shift();
    if (!chart) { document.documentElement.dataset.drawn = String(charts.length); return; }
    draw(chart);
    setTimeout(next, 0); // between two charts the page answers
  };
  next();

  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawSeen, 120); });
  document.querySelectorAll("details").forEach((each) => each.addEventListener("toggle", drawSeen));

  let opened = [];
  addEventListener("beforeprint", () => {
    printing = true;
    opened = [...document.querySelectorAll("details:not([open])")].filter((each) => each.querySelector(".chart, .command"));
    opened.forEach((each) => { each.open = true; });
    drawSeen();
  });
  addEventListener("afterprint", () => {
    printing = false;
    opened.forEach((each) => { each.open = false; });
    drawSeen();
  });

  const copied = (button, text) => {
    button.textContent = text;
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  };
  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy");
  };
  document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      copied(button, "Copied");
    } catch { // a page from a file may have no clipboard of its own
      copied(button, select(code) ? "Copied" : "Press Ctrl+C");
    }
  }));
})();
