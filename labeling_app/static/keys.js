// Keys, for those who rank without a mouse. Silent while someone types, drags, or a dialog is open; a key that is
// held down moves, but submits nothing.

import { showHelp } from "./dialogs.js";
import { composes } from "./dom.js";
import * as order from "./order.js";
import { skip, submit, undo } from "./sending.js";
import * as work from "./work.js";

const TYPES = "input, textarea, select, [contenteditable]";
const PRESSES = "button, a, summary";

export function listen(page) {
  const { root } = page;
  const act = actsOf(page);
  document.addEventListener("keydown", (event) => {
    if (!root.isConnected || event.altKey || composes(event)) return;
    if (event.target.closest("dialog") || root.querySelector("dialog[open], .ar-dragging")) return; // Ctrl+Enter has closed its dialog by now
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    const meant = event.ctrlKey || event.metaKey;
    const types = event.target.closest(TYPES) && !event.target.matches("input[type=radio]");
    if (meant || types) {
      const leaves = event.key === "Enter" ? meant && act.submit() : event.key === "Escape" && event.target.matches("textarea") && act.answers();
      if (leaves) event.preventDefault();
      return;
    }
    if (event.key === "Enter" && event.target.closest(PRESSES)) return;
    if (event.target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return;
    const done = pressed(event, act, page.state?.way ?? "order");
    if (done) event.preventDefault();
  });
  document.addEventListener("keyup", (event) => { if (event.key === "Tab" && page.main.contains(event.target)) work.inSight(event.target); });
}

function pressed(event, act, way) {
  const key = event.key.normalize("NFKC"); // a Chinese keyboard's wide ？ and １ are ? and 1
  const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
  if (digit) return way === "pair" ? digit <= 7 && act.prefer(digit - 4) : way === "buckets" ? digit <= 3 && act.bucket(digit - 1) : act.rank(digit);
  const vertical = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (vertical) {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") return way === "pair" && act.choose(vertical);
    return event.shiftKey ? way === "order" && act.step(vertical) : act.choose(vertical);
  }
  const name = {
    "=": "tie", x: "out", d: "differences", e: "edit", f: "flag", o: "open", c: "comment", u: "undo", s: "skip", "?": "help", Enter: "submit",
  }[key.length === 1 ? key.toLowerCase() : key];
  return name ? act[name]() : false;
}

// What each key does, by the names that `pressed` knows.
function actsOf(page) {
  const on = (act) => (...given) => {
    if (!page.item || page.busy) return false;
    act(...given);
    return true;
  };
  const at = (act) => on((...given) => act(page, work.chosen(page), ...given));
  return {
    choose: on((way) => work.choose(page, way)),
    step: at((_, key, way) => work.moveBy(page, key, way < 0 ? "up" : "down")),
    rank: at((_, key, rank) => { if (rank <= page.keysOf.length) work.change(page, order.toRank(page.state, key, rank), key); }),
    bucket: on((bucket) => work.sort(page, bucket)),
    prefer: on((strength) => work.prefer(page, strength)),
    tie: at((_, key) => { if (page.state.way === "pair") work.prefer(page, 0); else if (page.state.way === "order") work.moveBy(page, key, "tie"); }),
    out: at((_, key) => { if (page.state.way === "order") work.moveBy(page, key, "out"); }),
    differences: at(work.compare),
    edit: at(work.edit),
    flag: at(work.flag),
    open: at(work.unfold),
    comment: on(() => work.inSight(page.main.querySelector("#ar-comment"))),
    answers: on(() => work.look(page, work.chosen(page))),
    submit: on(() => submit(page)),
    skip: on(() => skip(page)),
    undo: () => { undo(page); return true; },
    help: () => { showHelp(page.root, page.state?.way ?? "order"); return true; },
  };
}
