// Draws each [data-chart] from the cells of its table, in the colours of its inks. Arrow keys and the
// pointer walk through it; what is there is said in the heading.

const drawn = new Map();

// Of "Tue 3 Mar" the day, of "Mar 2026" the month.
const short = (label) => label.replace(/^\w{3} (?=\d{1,2} )| \d{4}$/g, "");

const number = (value, kind) => (value === "" ? null : Number(value) / (kind === "money" ? 100 : 1));

function read(figure) {
  const table = document.getElementById(figure.dataset.chart);
  const heads = [...table.querySelectorAll("thead th")];
  const rows = [...table.querySelectorAll("tbody tr")];
  const labels = rows.map((row) => row.cells[0].textContent);
  const series = figure.dataset.plots
    .split(" ")
    .map((plot) => plot.split(":"))
    .map(([key, form]) => [heads.findIndex((head) => head.dataset.key === key), form])
    .filter(([place]) => place > 0)
    .map(([place, form]) => ({
      form,
      title: heads[place].textContent,
      kind: heads[place].dataset.kind,
      texts: rows.map((row) => row.cells[place].textContent),
      values: rows.map((row) => number(row.cells[place].dataset.value, heads[place].dataset.kind)),
    }));
  return { labels, series };
}

function scale(kind) {
  const currency = document.querySelector("[data-currency]").dataset.currency;
  const style = kind === "money" ? { style: "currency", currency } : {};
  const format = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1, ...style });
  return (_, values) => values.map((value) => (kind === "count" && value % 1 ? "" : format.format(value)));
}

function options(figure, { labels, series }) {
  const ink = (name) => getComputedStyle(figure.querySelector(`.ink--${name}`)).color;
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const plot = figure.querySelector(".chart__plot");
  const axis = { stroke: ink("text"), font, ticks: { show: false }, grid: { stroke: ink("line"), width: 1 } };
  const line = ({ form, title }, place) => {
    const stroke = place ? ink("2") : ink("1");
    if (form === "bars") {
      return { label: title, fill: stroke, points: { show: false }, paths: uPlot.paths.bars({ size: [place ? 0.5 : 0.7, 48], radius: 0.15 }) };
    }
    const fill = form === "area" ? stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.16)") : undefined;
    return { label: title, stroke, fill, width: 2, dash: place ? [4, 4] : undefined, points: { show: labels.length < 2 } };
  };
  const places = (u) => {
    const step = Math.max(1, Math.ceil(labels.length / Math.max(2, Math.floor(u.width / 80))));
    return labels.map((_, place) => place).filter((place) => place % step === 0);
  };
  return {
    width: plot.clientWidth,
    height: plot.clientHeight,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: {
      x: { time: false, range: [-0.5, labels.length - 0.5] },
      y: { range: (_, low, high) => [Math.min(0, low), Math.max(1, high * 1.08)] },
    },
    axes: [
      { ...axis, size: 28, grid: { show: false }, splits: places, values: (_, found) => found.map((place) => short(labels[place] ?? "")) },
      { ...axis, size: 56, values: scale(series[0].kind) },
    ],
    series: [{}, ...series.map(line)],
    hooks: { setCursor: [(u) => say(figure, labels, series, u.cursor.idx)] },
  };
}

function say(figure, labels, series, place) {
  const says = figure.querySelector(".chart__says");
  says.textContent = place == null ? "" : [labels[place], ...series.map(({ title, texts }) => `${title} ${texts[place]}`)].join(" · ");
}

function draw(figure) {
  const data = read(figure);
  const plot = figure.querySelector(".chart__plot");
  drawn.get(figure)?.destroy();
  if (!data.series.length || !plot.clientWidth) return;
  const values = [data.labels.map((_, place) => place), ...data.series.map((each) => each.values)];
  drawn.set(figure, new uPlot(options(figure, data), values, plot));
}

function walk(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const chart = drawn.get(event.currentTarget);
  if (!step || !chart) return;
  event.preventDefault();
  const last = chart.data[0].length - 1;
  const from = chart.cursor.idx ?? (step > 0 ? -1 : last + 1);
  const left = chart.valToPos(Math.min(last, Math.max(0, from + step)), "x");
  chart.setCursor({ left, top: 0 });
}

const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const chart = drawn.get(target.parentElement);
    if (!chart) draw(target.parentElement);
    else if (chart.width !== target.clientWidth) chart.setSize({ width: target.clientWidth, height: target.clientHeight });
  }
});

function drawAll() {
  for (const figure of drawn.keys()) if (!figure.isConnected) drawn.delete(figure);
  for (const figure of document.querySelectorAll("[data-chart]")) {
    draw(figure);
    if (figure.dataset.known) continue;
    figure.dataset.known = "yes";
    figure.addEventListener("keydown", walk);
    widths.observe(figure.querySelector(".chart__plot"));
  }
}

new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.addEventListener("htmx:afterSettle", drawAll);
document.fonts.ready.then(drawAll);
drawAll();
