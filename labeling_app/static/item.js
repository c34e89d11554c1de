// An item on the page: guidelines, prompt, answers, the comment, and the buttons that end it.

import { arrange, fold, makeCards, opinions } from "./cards.js";
import { button, make } from "./dom.js";
import { draggable } from "./drag.js";
import { soon } from "./drafts.js";
import * as order from "./order.js";
import { skip, submit } from "./sending.js";
import { say } from "./words.js";
import * as work from "./work.js";

const READ = "align-guidelines-read";

export function showItem(page) {
  const { item } = page;
  page.count.textContent = say(item.left === null ? "count" : "countLeft", { n: item.mine, left: item.left });
  page.cards = makeCards(item, page.state, {
    move: (key, how) => work.moveBy(page, key, how),
    bucket: (key, n) => work.change(page, order.toBucket(page.state, key, page.state.buckets[key] === n ? undefined : n), key),
    edit: (key) => work.edit(page, key), flag: (key) => work.flag(page, key), compare: (key) => work.compare(page, key),
    rate: (key, name, value) => work.rate(page, key, name, value), open: (key) => work.unfold(page, key),
  });
  page.place = make("div", { onfocusin: (event) => { const card = event.target.closest(".ar-card"); if (card) work.cameTo(page, card); } });
  draggable(page.place, (key, target) => work.dropped(page, key, target));
  page.place.addEventListener("change", (event) => {
    if (event.target.dataset.strength) work.change(page, order.prefer(page.state, Number(event.target.dataset.strength)));
  });
  page.main.replaceChildren(...[guidelines(item), prompt(item), item.opinions.length ? opinions(item) : null, ways(page), page.place, comment(page), ends(page)].filter(Boolean));
  page.main.dataset.lease = item.lease;
  arrange(page.place, item, page.state, page.cards);
  fold(page.main, page.cards);
  window.scrollTo(0, 0);
  page.cards[work.chosen(page)].focus({ preventScroll: true });
}

function guidelines(item) {
  if (!item.guidelines) return null;
  const read = localStorage.getItem(READ) === item.guidelines; // and closed since; new ones open again
  const ontoggle = (event) => localStorage.setItem(READ, event.target.open ? "" : item.guidelines);
  return make("details", { class: "ar-guidelines", open: innerWidth > 1100 && !read, ontoggle },
    make("summary", {}, say("guidelines")), make("div", { class: "ar-text", dir: "auto", html: item.guidelines }));
}

function prompt(item) {
  const turn = (t) => make("div", { class: "ar-turn" }, make("b", {}, say(t.role)), make("div", { class: "ar-text", dir: "auto", html: t.html }));
  const earlier = item.prompt.slice(0, -1);
  return make("section", { class: "ar-prompt", "aria-label": say("prompt") },
    earlier.length ? make("details", {}, make("summary", {}, say("earlier", { n: earlier.length })), earlier.map(turn)) : null,
    turn(item.prompt.at(-1)));
}

function ways(page) {
  if (page.state.way === "pair") return null;
  const choice = ["order", "buckets"].map((way) => button(say(way), () => work.turnWay(page, way),
    { "data-way": way, "aria-pressed": String(page.state.way === way) }));
  const hints = ["order", "buckets"].map((way) => make("p", { class: "ar-hint", "data-hint": way },
    say(`hint-${way}`), " ", make("span", { class: "ar-by-key" }, say(`hint-key-${way}`))));
  return make("div", { class: "ar-ways" }, make("div", { class: "ar-choice" }, choice), hints);
}

function comment(page) {
  const field = make("textarea", {
    id: "ar-comment", rows: "2", maxlength: "300000", value: page.state.comment,
    oninput: (e) => { page.state.comment = e.target.value; soon(page); },
  });
  return make("section", { class: "ar-end" }, make("label", { for: "ar-comment" }, say("rationale")), field);
}

function ends(page) {
  return make("p", { class: "ar-actions ar-send" },
    button(say("skip"), () => skip(page), { class: "ar-skip" }), button(say("submit"), () => submit(page), { class: "ar-submit" }));
}
