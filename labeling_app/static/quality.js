// The quality page: a project in numbers, as pictures with a table behind each. Everything comes from one request.

import { bars, columns, lines, points, shares } from "./charts.js";
import { button, make } from "./dom.js";
import { QUALITY_WORDS } from "./quality_words.js";
import * as server from "./server.js";
import { addWords, say, setLanguage } from "./words.js";

const MOST_ROWS = 30; // annotators in a picture
const MOST_COLUMNS = 60; // days; then weeks
const STATES = ["done", "settled", "adjudicate", "open", "untouched", "gold", "empty", "closed"];
const TO_DECIDE = ["done", "adjudicate", "open"];

addWords(QUALITY_WORDS);

export async function start(root) {
  const page = new QualityPage(root);
  await page.open();
  root.dataset.ready = "yes";
}

class QualityPage {
  constructor(root) {
    this.root = root;
    root.className = "ar aq";
    this.drawn = []; // places of pictures, and how each is drawn at a width
    new ResizeObserver(() => this.draw()).observe(root);
  }

  async open() {
    try {
      this.who = await server.me();
      this.locale = setLanguage(this.who.locale || navigator.language);
      const wanted = new URLSearchParams(location.search).get("project");
      this.slug = server.chosen(this.who.projects, wanted);
    } catch (error) {
      this.frame();
      return this.complain(error);
    }
    this.frame();
    return this.load();
  }

  frame() {
    document.documentElement.lang = this.locale ?? "en";
    const projects = this.who?.projects ?? [];
    const select = make("select", { "aria-label": say("project"), onchange: (e) => this.turnTo(e.target.value) },
      projects.map((p) => make("option", { value: p.slug, selected: p.slug === this.slug }, p.slug)));
    this.alert = make("div", { class: "ar-alert", role: "alert" });
    this.says = make("p", { class: "aq-age", role: "status" });
    this.main = make("div", { class: "ar-main" });
    this.root.replaceChildren(
      make("header", { class: "ar-bar" },
        make("h1", {}, say("quality")), projects.length > 1 ? select : null,
        make("span", { class: "ar-space" }),
        make("a", { class: "ar-link", href: this.pageOf() }, say("toRanking")),
        button(say("refresh"), () => this.load(), { class: "aq-refresh" }),
        button(say("language"), () => this.speak(), { class: "ar-language", lang: this.locale === "en" ? "zh-CN" : "en" }),
        this.who && this.who.name !== "local" ? make("form", { method: "post", action: "/logout" }, make("button", { type: "submit" }, say("logout"))) : null),
      this.alert, this.says, this.main);
  }

  pageOf(more = {}) {
    return `/app?${new URLSearchParams({ ...(this.slug ? { project: this.slug } : {}), ...more })}`;
  }

  async speak() {
    this.locale = setLanguage(this.locale === "en" ? "zh-CN" : "en");
    this.frame();
    if (this.found) this.show();
    else if (this.failed) this.complain(this.failed);
    await server.setLocale(this.locale).catch((error) => this.complain(error));
  }

  async turnTo(slug) {
    Object.assign(this, { slug, found: null, failed: null });
    history.replaceState(null, "", `?${new URLSearchParams({ project: slug })}`);
    this.frame();
    await this.load();
  }

  async load(slug = this.slug) {
    if (!slug) return this.main.replaceChildren(make("p", { class: "ar-nothing" }, say("noProject")));
    this.says.textContent = say("computing");
    this.root.classList.add("ar-busy");
    try {
      const found = await server.quality(slug);
      if (slug !== this.slug) return null; // another was chosen meanwhile
      this.found = found;
      this.alert.replaceChildren();
      this.show();
    } catch (error) {
      if (slug !== this.slug) return null;
      this.says.textContent = "";
      this.complain(error);
    } finally {
      this.root.classList.remove("ar-busy");
    }
    return null;
  }

  complain(error) {
    if (!(error instanceof server.Refused)) throw error;
    this.failed = error;
    const way = error.code === "login" ? make("a", { href: `/login?${new URLSearchParams({ to: location.pathname + location.search })}` }, say("login")) : "";
    this.alert.replaceChildren(make("p", {}, say(error.code), " ", way));
  }

  // -- the figures ------------------------------------------------------------------------------------------------

  show() {
    const { found } = this;
    this.drawn = [];
    this.says.textContent = say("age", { age: this.time(found.age) });
    const parts = [this.tiles(), this.progress(), this.byDay(), this.agreement(), this.annotators(), this.overTime(), this.disputes()];
    this.main.replaceChildren(...parts.filter(Boolean));
    this.draw();
  }

  draw() {
    for (const { place, how } of this.drawn) {
      const width = Math.floor(place.clientWidth);
      if (!width || place.dataset.width === String(width)) continue;
      place.dataset.width = String(width);
      place.replaceChildren(how(width));
    }
  }

  picture(how) {
    const place = make("div", { class: "aq-picture" });
    this.drawn.push({ place, how });
    return place;
  }

  figure(name, note, pictures, head, rows) {
    const cell = (text, at) => (at ? make("td", {}, text) : make("th", { scope: "row", dir: "auto" }, text));
    const table = make("div", { class: "aq-scroll", tabindex: "0", role: "region", "aria-label": say(name) }, make("table", {},
      make("thead", {}, make("tr", {}, head.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map(cell))))));
    return make("section", { class: "aq-figure", id: `aq-${name}`, "aria-labelledby": `aq-${name}-title` },
      make("h2", { id: `aq-${name}-title` }, say(name)), note ? make("p", { class: "aq-note" }, note) : null, pictures,
      make("details", {}, make("summary", {}, say("table")), table));
  }

  tiles() {
    const { found } = this;
    const note = found.pace === null ? null : say("timeLeftNote", { pace: this.time(found.pace) });
    const tile = (name, value, more = null) => make("div", { class: "aq-tile", "data-tile": name }, make("dt", {}, say(name)), make("dd", {}, value, more ? make("small", {}, more) : null));
    return make("dl", { class: "aq-tiles" }, tile("rankings", this.count(found.rankings), found.tests ? say("ofTests", { n: this.count(found.tests) }) : null), tile("needed", this.count(found.needed)),
      tile("timeLeft", found.seconds_left === null ? say("none") : this.time(found.seconds_left), note), tile("annotators", this.count(found.annotators.length)));
  }

  progress() {
    const { states, counted, needed } = this.found;
    const all = Object.values(states).reduce((sum, n) => sum + n, 0);
    if (!all) return null;
    const rows = STATES.filter((state) => states[state]).map((state) => ({ kind: state, value: states[state], name: say(`state-${state}`) }));
    const legend = make("ul", { class: "aq-legend" }, rows.map((row) => make("li", {}, make("i", { class: `aq-swatch aq-${row.kind}` }), `${row.name} ${this.count(row.value)}`)));
    const label = labelOf(say("progress"), rows.map((row) => ({ name: row.name, told: this.count(row.value) })));
    return this.figure("progress", say("progressNote", { counted: this.count(counted), all: this.count(counted + needed) }),
      [this.picture((width) => shares(width, label, rows)), legend], [say("state"), say("items"), say("share")],
      rows.map((row) => [row.name, this.count(row.value), this.share(row.value / all)]));
  }

  byDay() {
    const days = everyDay(this.found.by_day);
    if (!days.length) return make("p", { class: "ar-nothing" }, say("noRankings"));
    const rows = days.length > MOST_COLUMNS ? byWeek(days) : days;
    const named = rows.map((row) => ({ name: this.day(row.day), value: row.value, told: this.count(row.value) }));
    const label = labelOf(say("byDay"), named);
    return this.figure("byDay", say("byDayNote"), [this.picture((width) => columns(width, label, named))],
      [rows === days ? say("day") : say("weekOf"), say("rankings")], rows.map((row, at) => [row.day, named[at].told]));
  }

  agreement() {
    const { agreement } = this.found;
    const chance = { alpha: 0, tau_b: 0, percent: 0.5 };
    const say3 = (name, value) => (name === "percent" ? this.share(value, 1) : value.toFixed(3));
    const rows = ["alpha", "tau_b", "percent"].map((name) => {
      const figure = agreement[name];
      const told = figure.value === null ? say("undefined") : say3(name, figure.value);
      return { ...figure, key: name, name: say(name), chance: figure.value === null ? null : chance[name], told };
    });
    const label = labelOf(say("agreement"), rows);
    const reasons = [...new Set(rows.filter((row) => row.value === null).map((row) => row.reason))];
    const some = rows.some((row) => row.value !== null);
    const pictures = some ? [
      this.picture((width) => points(width, label, rows.slice(0, 2), [-1, 1], (value) => String(value))),
      this.picture((width) => points(width, label, rows.slice(2), [0, 1], (value) => this.share(value))),
    ] : [];
    return this.figure("agreement", agreement.overlapping ? say("agreementNote", { n: this.count(agreement.overlapping) }) : say("agreementNone"),
      [...pictures, reasons.map((reason) => make("p", { class: "aq-reason" }, say(reason)))],
      [say("measure"), say("value"), say("interval"), say("items"), say("why")],
      rows.map((row) => [row.name, row.told, row.low === null ? say("none") : `${say3(row.key, row.low)} – ${say3(row.key, row.high)}`, this.count(row.items), say(row.reason)]));
  }

  annotators() {
    const { names } = this.found; // an admin's answer has them
    const named = (a) => (names[a.pseudonym] ? `${a.pseudonym} (${names[a.pseudonym]})` : a.pseudonym);
    const brief = (a) => (names[a.pseudonym] ?? a.pseudonym).replace(/^(.{9}).{2,}$/u, "$1…"); // pictures have room for so much
    const all = [...this.found.annotators].sort((a, b) => b.rankings - a.rankings);
    if (!all.length) return null;
    const shown = all.slice(0, MOST_ROWS);
    const of = (share, count) => (share === null ? say("none") : say("counted", { share: this.share(share), n: this.count(count) }));
    const small = (name, rows, how, note = null) => {
      const label = labelOf(say(name), rows);
      return make("div", { class: "aq-small" }, make("h3", {}, say(name)), note ? make("p", { class: "aq-note" }, note) : null, this.picture((width) => how(width, label, rows)));
    };
    const scale = (width, label, rows) => points(width, label, rows, [0, 1], (value) => this.share(value));
    const plain = { low: null, high: null, chance: null };
    const pictures = [
      small("rankings", shown.map((a) => ({ name: brief(a), value: a.rankings, told: this.count(a.rankings) })), bars),
      small("pace", shown.map((a) => ({ name: brief(a), value: a.pace, told: a.pace === null ? say("none") : this.seconds(a.pace) })), bars),
      all.some((a) => a.gold !== null) ? small("gold", shown.map((a) => ({ ...plain, name: brief(a), value: a.gold, told: of(a.gold, a.gold_count) })), scale, say("goldNote")) : null,
      small("first", shown.map((a) => ({ name: brief(a), value: a.first_best, low: a.first_low, high: a.first_high, chance: a.first_chance, told: of(a.first_best, a.first_count), warns: a.place_bias })), scale, say("firstNote")),
    ].filter(Boolean);
    const more = all.length > shown.length ? make("p", { class: "aq-note" }, say("more", { n: this.count(all.length - shown.length) })) : null;
    const interval = (a) => (a.first_low === null ? say("none") : `${this.share(a.first_low)} – ${this.share(a.first_high)}`);
    return this.figure("people", this.found.states.settled ? say("peopleNote") : null, [make("div", { class: "aq-grid-of" }, pictures), more].filter(Boolean),
      [say("annotator"), say("rankings"), say("skipped"), say("pace"), say("gold"), say("first"), say("interval"), say("chance"), say("bias"), utc("last")],
      all.map((a) => [named(a), this.count(a.rankings), this.count(a.skipped), a.pace === null ? say("none") : this.seconds(a.pace), of(a.gold, a.gold_count), of(a.first_best, a.first_count),
        interval(a), a.first_chance === null ? say("none") : this.share(a.first_chance), a.first_best === null ? say("none") : say(a.place_bias ? "yes" : "no"), a.last.slice(0, 10)]));
  }

  overTime() {
    const { over_time: blocks, over_answers: answers } = this.found;
    if (!blocks.length) return null;
    const days = blocks.map((block) => this.day(block.start.slice(0, 10)));
    const names = new Set(days).size > 1 ? days : blocks.map((block) => block.start.slice(11, 16)); // all of one day
    const places = Array.from({ length: answers }, (_, at) => at);
    const series = places.map((at) => ({ name: say("shownPlace", { n: at + 1 }), kind: at, values: blocks.map((block) => block.ranks[at]) }));
    const number = (value) => (value === null ? say("none") : value.toFixed(2));
    const label = labelOf(say("over"), series.map((one) => ({ name: one.name, told: one.values.map(number).join(", ") })));
    return this.figure("over", say("overNote", { k: answers }), [this.picture((width) => lines(width, label, series, blocks.map((block) => block.mean), names))],
      [utc("from"), utc("to"), say("rankings"), ...series.map((one) => one.name)],
      blocks.map((block) => [minute(block.start), minute(block.end), this.count(block.rankings), ...block.ranks.map(number)]));
  }

  disputes() {
    const found = this.found.disputes.filter((dispute) => dispute.agreement < 1);
    const heading = make("h2", { id: "aq-disputes-title" }, say("disputes"));
    const rows = found.map((dispute) => {
      const told = say("shared", { share: this.share(dispute.agreement), n: dispute.annotators });
      const meter = make("span", { class: "aq-meter", role: "img", "aria-label": told }, make("i", { style: `width: ${100 * dispute.agreement}%` }));
      const way = TO_DECIDE.includes(dispute.state) ? make("a", { class: "ar-link", href: this.pageOf({ task: "adjudicate", item: dispute.item }) }, say("decide")) : make("span", { class: "aq-note" }, say(`state-${dispute.state}`));
      return make("li", { "data-item": dispute.item }, make("span", { class: "aq-prompt", dir: "auto" }, dispute.prompt), meter, make("span", { class: "aq-note" }, told), way);
    });
    return make("section", { class: "aq-figure", id: "aq-disputes", "aria-labelledby": "aq-disputes-title" }, heading,
      make("p", { class: "aq-note" }, say(rows.length ? "disputesNote" : "disputesNone")), rows.length ? make("ol", { class: "aq-disputes" }, rows) : null);
  }

  // -- numbers in words -------------------------------------------------------------------------------------------

  count(value) {
    return new Intl.NumberFormat(this.locale).format(value);
  }

  share(value, digits = 0) {
    return new Intl.NumberFormat(this.locale, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  }

  seconds(value) {
    return say("seconds", { n: new Intl.NumberFormat(this.locale, { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value) });
  }

  time(seconds) {
    const [unit, size] = seconds < 90 ? ["second", 1] : seconds < 5400 ? ["minute", 60] : ["hour", 3600];
    return new Intl.NumberFormat(this.locale, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: unit === "hour" && seconds < 36_000 ? 1 : 0 }).format(seconds / size);
  }

  day(text) {
    return new Date(`${text}T00:00Z`).toLocaleDateString(this.locale, { month: "short", day: "numeric", timeZone: "UTC" });
  }
}

// What a picture says to who cannot see it: its first rows; the rest is in the table.
function labelOf(title, rows) {
  return `${title}: ${rows.slice(0, 12).map((row) => `${row.name} ${row.told}`).join("; ")}`;
}

const utc = (key) => `${say(key)} (UTC)`;
const minute = (stamp) => stamp.slice(0, 16).replace("T", " ");

// Days between the first and the last, those without a ranking too.
function everyDay(byDay) {
  const known = Object.keys(byDay).sort();
  const days = [];
  for (let at = Date.parse(known[0]); at <= Date.parse(known.at(-1)); at += 86_400_000) {
    const day = new Date(at).toISOString().slice(0, 10);
    days.push({ day, value: byDay[day] ?? 0 });
  }
  return days;
}

function byWeek(days) {
  return Array.from({ length: Math.ceil(days.length / 7) }, (_, week) => {
    const own = days.slice(week * 7, week * 7 + 7);
    return { day: own[0].day, value: own.reduce((sum, row) => sum + row.value, 0) };
  });
}
