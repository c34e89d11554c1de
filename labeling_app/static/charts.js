// Pictures as SVG, made from numbers. Each says what it shows in its label; the table behind it holds the figures.

const NS = "http://www.w3.org/2000/svg";
const NARROW = 440; // below this, the name of a row and its figures stand above it

// Where a row's name, its figures and its picture are.
function rowsOf(width) {
  if (width < NARROW) return { row: 44, text: 14, plot: 29, left: 0, room: width };
  return { row: 26, text: 17, plot: 13, left: 104, room: width - 104 - 108 };
}

export function node(tag, attributes = {}, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const write = (x, y, text, more = {}) => node("text", { x, y, ...more }, text);

export function picture(width, height, label, parts) {
  return node("svg", { role: "img", "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}` }, ...parts);
}

// One bar in parts: [{ value, kind }].
export function shares(width, label, parts) {
  const whole = parts.reduce((sum, part) => sum + part.value, 0);
  let x = 0;
  const bars = parts.filter((part) => part.value).map((part) => {
    const wide = (part.value / whole) * width;
    const bar = node("rect", { x, y: 0, width: Math.max(1.5, wide - 2), height: 26, rx: 3, class: `aq-${part.kind}` });
    x += wide;
    return bar;
  });
  return picture(width, 26, label, bars);
}

// Columns over time: [{ name, value }].
export function columns(width, label, rows) {
  const [left, top, tall] = [44, 10, 150];
  const most = niceAbove(Math.max(1, ...rows.map((row) => row.value)));
  const wide = (width - left) / rows.length;
  const every = Math.ceil(rows.length / Math.max(1, Math.floor((width - left) / 72)));
  const parts = [0, most / 2, most].flatMap((value) => {
    const y = top + tall * (1 - value / most);
    return [node("line", { x1: left, x2: width, y1: y, y2: y, class: "aq-grid" }), write(left - 8, y + 4, short(value), { "text-anchor": "end" })];
  });
  rows.forEach((row, at) => {
    const high = tall * (row.value / most);
    const x = left + at * wide;
    const bar = Math.min(wide - 2, 48);
    if (row.value) parts.push(node("rect", { x: x + (wide - bar) / 2, y: top + tall - high, width: Math.max(1, bar), height: high, rx: 2, class: "aq-bar" }));
    if (at % every === 0) parts.push(write(x + wide / 2, top + tall + 18, row.name, { "text-anchor": wide * every > 60 || at ? "middle" : "start" }));
  });
  return picture(width, top + tall + 26, label, parts);
}

// Bars to the right: [{ name, value, told }].
export function bars(width, label, rows) {
  const most = Math.max(...rows.map((row) => row.value ?? 0), 1e-9);
  const { row: high, text, plot, left, room } = rowsOf(width);
  return picture(width, rows.length * high, label, rows.flatMap((row, at) => [
    write(0, at * high + text, row.name),
    row.value === null ? null : node("rect", { x: left, y: at * high + plot - 8, width: Math.max(1, (row.value / most) * room), height: 16, rx: 2, class: "aq-bar" }),
    write(width, at * high + text, row.told, { "text-anchor": "end" }),
  ]));
}

// Points with intervals on one scale: [{ name, value, low, high, chance, told, warns }].
export function points(width, label, rows, [from, to], tick) {
  const { row: high, text, plot, left, room } = rowsOf(width);
  const at = (value) => left + 18 + ((value - from) / (to - from)) * (room - 36);
  const bottom = rows.length * high + 4;
  const ticks = [from, (from + to) / 2, to].flatMap((value) => [
    node("line", { x1: at(value), x2: at(value), y1: plot - 9, y2: bottom, class: "aq-grid" }),
    write(at(value), bottom + 15, tick(value), { "text-anchor": "middle" }),
  ]);
  const drawn = rows.flatMap((row, index) => {
    const y = index * high + plot;
    const warns = row.warns ? " aq-warns" : "";
    const words = [write(0, index * high + text, row.name), write(width, index * high + text, row.told, { "text-anchor": "end", class: warns.trim() })];
    if (row.value === null) return words;
    return [
      ...words,
      row.low === null ? null : node("line", { x1: at(row.low), x2: at(row.high), y1: y, y2: y, class: `aq-interval${warns}` }),
      row.chance === null ? null : node("line", { x1: at(row.chance), x2: at(row.chance), y1: y - 9, y2: y + 9, class: "aq-chance" }),
      node("circle", { cx: at(row.value), cy: y, r: 5, class: `aq-point${warns}` }),
    ];
  });
  return picture(width, bottom + 20, label, [...ticks, ...drawn]);
}

// Lines, 1 at the top. all: [{ name, values, kind }] over names of steps; null is a gap. base: a dashed line.
export function lines(width, label, all, base, names) {
  const [left, right, top, tall] = [36, 56, 10, 190];
  const series = all.filter((one) => one.values.some((value) => value !== null)); // a name without a line would stand beside any height
  const known = [...series.flatMap((one) => one.values), ...base].filter((value) => value !== null);
  const [low, high] = [Math.floor(Math.min(...known) * 4) / 4, Math.max(Math.ceil(Math.max(...known) * 4) / 4, Math.floor(Math.min(...known) * 4) / 4 + 0.25)];
  const y = (value) => top + ((value - low) / (high - low)) * tall;
  const x = (at) => left + (names.length > 1 ? (at / (names.length - 1)) * (width - left - right) : (width - left - right) / 2);
  const every = Math.ceil(names.length / Math.max(1, Math.floor((width - left - right) / (width < NARROW ? 110 : 72))));
  const parts = [low, (low + high) / 2, high].flatMap((value) => [
    node("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "aq-grid" }),
    write(left - 8, y(value) + 4, value.toFixed(2), { "text-anchor": "end" }),
  ]);
  const path = (values) => values.reduce((d, value, at) => (value === null ? d : `${d}${d && values[at - 1] !== null ? "L" : "M"}${x(at)} ${y(value)}`), "");
  parts.push(node("path", { d: path(base), class: "aq-base" }));
  const ends = apart(series.map((one) => y(one.values.findLast((value) => value !== null))));
  series.forEach((one, number) => {
    parts.push(node("path", { d: path(one.values), class: `aq-line aq-s${one.kind}` }));
    one.values.forEach((value, at) => { if (value !== null) parts.push(node("circle", { cx: x(at), cy: y(value), r: 3.5, class: `aq-dot aq-s${one.kind}` })); });
    parts.push(write(width - right + 10, ends[number] + 4, one.name, { class: `aq-end aq-s${one.kind}` }));
  });
  names.forEach((name, at) => { if (at % every === 0) parts.push(write(x(at), top + tall + 22, name, { "text-anchor": at ? "middle" : "start" })); });
  return picture(width, top + tall + 32, label, parts);
}

// Heights of labels, moved so that none covers another.
function apart(heights) {
  const order = heights.map((_, at) => at).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  order.forEach((at, index) => { if (index) placed[at] = Math.max(placed[at], placed[order[index - 1]] + 15); });
  return placed;
}

function niceAbove(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return Math.max(2, [1, 2, 4, 5, 10].map((step) => step * unit).find((step) => step >= value));
}

const short = (value) => (value >= 10_000 ? `${value / 1000}k` : String(value));
