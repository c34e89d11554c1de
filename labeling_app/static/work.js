// What a person does with the answers of an item: each changes the state (order.js), draws it, and has a draft kept.

import { arrange, fold, letterOf, mark, preference, whereIs } from "./cards.js";
import { askEdit, askFlag, showDifferences } from "./dialogs.js";
import { keepUnused, soon } from "./drafts.js";
import * as order from "./order.js";
import { say } from "./words.js";

const first = (page) => page.place.querySelector(".ar-card").dataset.key;

// The answer that keys act on: the one chosen last, wherever the focus has gone since.
export const chosen = (page) => document.activeElement?.closest?.(".ar-card")?.dataset.key ?? page.chosen ?? first(page);

// Focus has come into this card, or to something in it.
export function cameTo(page, card) {
  page.chosen = card.dataset.key;
  for (const one of Object.values(page.cards)) {
    const here = one.classList.toggle("ar-chosen", one === card);
    if (here) one.setAttribute("aria-current", "true"); // what the outline says to the eye
    else one.removeAttribute("aria-current");
  }
}

export function change(page, state, key = null) {
  if (state === page.state) return;
  page.state = state;
  page.warned = null;
  page.alert.replaceChildren();
  arrange(page.place, page.item, state, page.cards);
  fold(page.main, page.cards); // a tie is narrower
  if (key) page.says.textContent = say("moved", { letter: letterOf(page.keysOf, key), place: whereIs(key, page.keysOf, state) });
  soon(page);
}

export function moveBy(page, key, how) {
  const { state } = page;
  const next = { up: () => order.step(state, key, -1), down: () => order.step(state, key, 1), tie: () => order.toggleTie(state, key), out: () => order.leaveOut(state, key) }[how]();
  change(page, next, key);
}

export function dropped(page, key, target) {
  const { state } = page;
  if ("bucket" in target) change(page, order.toBucket(state, key, target.bucket), key);
  else if (target.out) change(page, state.out.includes(key) ? state : order.leaveOut(state, key), key);
  else if (target.tie) change(page, order.tieWith(state, key, target.tie), key);
  else change(page, order.place(state, key, target.before), key);
}

// A digit on a pair. Nothing is focused by it, so that it has to be said.
export function prefer(page, strength) {
  change(page, order.prefer(page.state, strength));
  page.says.textContent = preference(page.keysOf, strength);
}

// A digit in buckets. One after the other sorts them all.
export function sort(page, bucket) {
  const key = chosen(page);
  const fresh = page.state.buckets[key] === undefined;
  change(page, order.toBucket(page.state, key, bucket), key);
  const next = fresh && page.keysOf.find((other) => page.state.buckets[other] === undefined);
  if (next) look(page, next);
}

export function rate(page, key, name, value) {
  const ratings = { ...page.state.ratings, [key]: { ...page.state.ratings[key], [name]: value } };
  page.state = { ...page.state, ratings };
  mark(page.cards[key], key, page.state);
  soon(page);
}

export function turnWay(page, way) {
  page.way = way;
  localStorage.setItem("align-way", way);
  for (const choice of page.main.querySelectorAll("[data-way]")) choice.setAttribute("aria-pressed", String(choice.dataset.way === way));
  const key = chosen(page);
  change(page, { ...page.state, way });
  page.cards[key].focus({ preventScroll: true });
}

export function unfold(page, key) {
  const card = page.cards[key];
  const opened = card.classList.toggle("ar-opened");
  card.querySelector(".ar-open").textContent = say(opened ? "less" : "more");
}

// Choose the next answer on the page (1), or the one before (-1).
export function choose(page, way) {
  const all = [...page.place.querySelectorAll(".ar-card")];
  const at = all.indexOf(page.cards[chosen(page)]);
  look(page, all[Math.max(0, Math.min(all.length - 1, at + way))].dataset.key);
}

export function look(page, key) {
  inSight(page.cards[key]);
}

// Give it the focus, where the bar at the bottom does not hide it: a browser's own scrolling does not know of that.
export function inSight(element) {
  element.focus({ preventScroll: true });
  if (!element.closest(".ar-send")) element.scrollIntoView({ block: "nearest" });
}

const textOf = (page, key) => page.item.answers.find((answer) => answer.key === key).text;

export async function edit(page, key) {
  const { item } = page;
  const edited = page.state.edit?.key === key;
  const begun = [page.state.begun, page.state.edit].find((one) => one?.key === key);
  const typed = (text) => { page.state.begun = { key, text }; soon(page); };
  const text = await askEdit(page.root, letterOf(page.keysOf, key), { before: begun?.text ?? textOf(page, key), edited, typed });
  if (page.item !== item) return;
  if (text === null) { // Escape may be a slip: what was typed is there when the dialog is opened again
    change(page, { ...page.state });
    return;
  }
  const left = edited ? null : page.state.edit;
  const same = text === "" || text === textOf(page, key);
  const now = text === undefined ? page.state.edit : same ? left : { key, text };
  change(page, { ...page.state, edit: now, begun: page.state.begun?.key === key ? null : page.state.begun });
}

export async function flag(page, key) {
  const { item } = page;
  const flagged = page.state.flags.find((flag) => flag.key === key);
  const typed = (now) => keepUnused(page, key, now);
  const said = await askFlag(page.root, letterOf(page.keysOf, key), { before: page.state.unused?.[key] ?? flagged, flagged, typed });
  if (page.item !== item) return;
  if (said !== null) keepUnused(page, key, null);
  const others = page.state.flags.filter((flag) => flag.key !== key);
  const flags = !said ? page.state.flags : said.code ? [...others, { key, code: said.code, note: said.note }] : others;
  change(page, { ...page.state, flags }); // after Escape, too: the card says that a flag is not finished
}

export function compare(page, key) {
  const all = order.flat(page.state);
  const other = all[all.indexOf(key) + 1] ?? all[all.indexOf(key) - 1];
  showDifferences(page.root, [key, other].map((k) => ({ letter: letterOf(page.keysOf, k), text: textOf(page, k) })));
}
