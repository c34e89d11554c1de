// The answers on the page: a card for each, arranged as the person has ranked them so far.

import { button, make } from "./dom.js";
import { tierOf } from "./order.js";
import { known, say } from "./words.js";

export const letterOf = (keys, key) => String.fromCharCode(65 + keys.indexOf(key));

// A card for every answer of an item; those that are rated show their ratings. act: { move(key, how), bucket(key, n),
// edit, flag, compare, rate, open } of the page.
export function makeCards(item, state, act) {
  const keys = item.answers.map((answer) => answer.key);
  const cards = Object.fromEntries(item.answers.map((answer) => [answer.key, card(answer, letterOf(keys, answer.key), item, act)]));
  for (const key of keys.filter((key) => isRated(state, key) && item.attributes.length)) cards[key].querySelector(".ar-ratings").open = true;
  return cards;
}

const isRated = (state, key) => Object.keys(state.ratings[key] ?? {}).length > 0;

function card(answer, letter, item, act) {
  const key = answer.key;
  const text = answer.text === "" ? make("em", {}, say("emptyAnswer")) : null;
  const body = make("div", { class: "ar-body", dir: "auto", html: text ? "" : answer.html }, text);
  const open = button(say("more"), () => act.open(key), { class: "ar-open ar-quiet", hidden: true });
  const tool = (name, how) => button(say(name), () => act.move(key, how), { class: `ar-tool ar-do-${how}` });
  return make(
    "article",
    { class: "ar-card", "data-key": key, tabindex: "-1" },
    make("header", {},
      make("span", { class: "ar-handle", role: "img", "aria-label": say("handle", { letter }), "data-handle": key }, "⠿"),
      make("div", { class: "ar-title" },
        make("h3", {}, make("span", { class: "ar-letter" }, letter), " ", make("span", { class: "ar-where" })),
        make("span", { class: "ar-marks" })),
      make("div", { class: "ar-tools" }, button(say("differences"), () => act.compare(key), { class: "ar-tool" }), make("div", { class: "ar-acts" },
        tool("up", "up"), tool("down", "down"), tool("tie", "tie"), tool("leaveOut", "out"),
        [0, 1, 2].map((n) => button(say(`bucket${n}`), () => act.bucket(key, n), { class: "ar-tool ar-do-bucket", "data-to": n })),
        button(say("edit"), () => act.edit(key), { class: "ar-tool" }),
        button(say("flag"), () => act.flag(key), { class: "ar-tool" })))),
    body,
    open,
    make("div", { class: "ar-yours", hidden: true }, make("b", {}, say("yours")), make("div", { dir: "auto" })),
    ratings(key, item, act),
  );
}

function ratings(key, item, act) {
  if (!item.attributes.length) return null;
  const rows = item.attributes.map((name) => make("fieldset", { class: "ar-rating" },
    make("legend", {}, known(name) ? say(name) : name.replace(/^./u, (letter) => letter.toUpperCase())),
    ...Array.from({ length: item.rating_max }, (_, n) => make("label", {},
      make("input", {
        type: "radio", name: `rate-${key}-${name}`, value: String(n + 1), "data-rate": name,
        onchange: () => act.rate(key, name, n + 1),
      }), String(n + 1)))));
  return make("details", { class: "ar-ratings" }, make("summary", {}, say("rate")), rows);
}

// Put the cards where the state says. Elements are moved, never made anew, so that focus and scrolling stay.
export function arrange(place, item, state, cards) {
  const keys = item.answers.map((answer) => answer.key);
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const parts = { order: inOrder, buckets: inBuckets, pair: asPair }[state.way](keys, state, cards);
  place.replaceChildren(...parts);
  place.className = `ar-answers ar-${state.way}`;
  keys.forEach((key) => describe(cards[key], key, keys, state));
  const now = focused?.dataset.strength ? place.querySelector(`[data-strength="${focused.dataset.strength}"]`) : focused; // the scale is made anew
  now?.focus({ preventScroll: true });
}

function inOrder(keys, state, cards) {
  const tiers = state.groups.map((group, at) => make("li", { class: "ar-tier", "data-tier": at },
    make("span", { class: "ar-rank", "aria-hidden": "true" }, String(at + 1)),
    make("div", { class: "ar-group" }, group.map((key) => cards[key]))));
  return [
    make("ol", { class: "ar-tiers" }, tiers),
    make("section", { class: "ar-out", "data-out": "", hidden: !state.out.length, "aria-label": say("unranked") },
      make("h4", {}, say("unranked")), state.out.map((key) => cards[key])),
  ];
}

function inBuckets(keys, state, cards) {
  const zone = (value, title, own) => make("section", { class: "ar-bucket", "data-bucket": value, "aria-label": title },
    make("h4", {}, title), own.map((key) => cards[key]));
  return [
    zone("", say("nowhere"), keys.filter((key) => state.buckets[key] === undefined)),
    ...[0, 1, 2].map((n) => zone(String(n), `${n + 1} · ${say(`bucket${n}`)}`, keys.filter((key) => state.buckets[key] === n))),
  ];
}

function asPair(keys, state, cards) {
  const steps = [-3, -2, -1, 0, 1, 2, 3].map((n) => make("label", { class: "ar-step" },
    make("input", { type: "radio", name: "ar-strength", value: String(n), "data-strength": n }),
    make("span", {}, preference(keys, n)), make("kbd", { "aria-hidden": "true" }, String(n + 4))));
  const scale = make("div", { class: "ar-scale", role: "radiogroup", "aria-label": say("rank") }, steps);
  scale.querySelectorAll("input").forEach((input) => { input.checked = Number(input.value) === state.strength; });
  return [make("div", { class: "ar-two" }, keys.map((key) => cards[key])), scale];
}

// A strength of preference between two, in words; negative: the first is better.
export const preference = (keys, n) => say(`pair${Math.abs(n)}`, { x: letterOf(keys, keys[n < 0 ? 0 : 1]) });

// What a card says of its place, to the eye and to a screen reader.
function describe(element, key, keys, state) {
  const where = whereIs(key, keys, state);
  element.querySelector(".ar-where").textContent = state.way === "order" ? where : "";
  element.setAttribute("aria-label", `${say("answer", { letter: letterOf(keys, key) })}${where ? `, ${where}` : ""}`);
  mark(element, key, state);
  const yours = element.querySelector(".ar-yours");
  yours.hidden = state.edit?.key !== key;
  yours.lastChild.textContent = yours.hidden ? "" : state.edit.text;
  element.querySelector(".ar-do-out").textContent = state.out.includes(key) ? say("takeIn") : say("leaveOut");
  for (const tool of element.querySelectorAll("[data-to]")) tool.setAttribute("aria-pressed", String(state.buckets[key] === Number(tool.dataset.to)));
  for (const input of element.querySelectorAll("input[data-rate]")) {
    input.checked = state.ratings[key]?.[input.dataset.rate] === Number(input.value);
  }
}

// What was said about an answer beside its place.
export function mark(element, key, state) {
  const marks = {
    edited: state.edit?.key === key, begun: state.begun?.key === key,
    flagged: state.flags.some((f) => f.key === key), flagBegun: Boolean(state.unused?.[key]), rated: isRated(state, key),
  };
  const said = Object.keys(marks).filter((name) => marks[name]);
  element.querySelector(".ar-marks").replaceChildren(...said.map((name) => make("span", { class: "ar-mark" }, say(name))));
}

export function whereIs(key, keys, state) {
  if (state.way === "pair") return "";
  if (state.way === "buckets") return state.buckets[key] === undefined ? say("nowhere") : say(`bucket${state.buckets[key]}`);
  const at = tierOf(state, key);
  if (at < 0) return say("unranked");
  const others = state.groups[at].filter((k) => k !== key).map((k) => letterOf(keys, k)).join(", ");
  return say("place", { n: at + 1 }) + (others ? `, ${say("tied", { others })}` : "");
}

// What is wider than its place can be scrolled by keys.
function reachable(place) {
  for (const part of place.querySelectorAll("pre, table, math")) if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
}

// Long answers end in a button that shows the rest. What is folded has no width until it is opened.
export function fold(main, cards) {
  reachable(main);
  for (const folded of main.querySelectorAll("details")) folded.ontoggle = () => reachable(folded);
  for (const element of Object.values(cards)) {
    const body = element.querySelector(".ar-body");
    element.querySelector(".ar-open").hidden = body.scrollHeight <= body.clientHeight + 4 && !element.classList.contains("ar-opened");
  }
}

// What annotators said about an item that a reviewer decides.
export function opinions(item) {
  const keys = item.answers.map((answer) => answer.key);
  const rows = item.opinions.map((one) => make("tr", {}, make("th", { scope: "row" }, say("opinion", { n: one.annotator })),
    keys.map((key) => make("td", {}, one.ranks[key] === null ? "–" : String(one.ranks[key]))), make("td", { dir: "auto" }, one.comment ?? "")));
  const head = make("tr", {}, make("td", {}), keys.map((key) => make("th", { scope: "col" }, letterOf(keys, key))), make("td", {}));
  return make("section", { class: "ar-opinions" }, make("h2", {}, say("opinions")), make("table", {}, make("thead", {}, head), make("tbody", {}, rows)));
}
