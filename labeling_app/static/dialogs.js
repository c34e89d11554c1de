// Small dialogs: why an item is skipped, what is wrong with an answer, a better wording, differences, the keys.

import { differences } from "./differences.js";
import { button, dialog, make, send } from "./dom.js";
import { say } from "./words.js";

const SKIPS = ["unsure", "all-bad", "language", "broken", "harmful", "other"];
const FLAGS = ["harmful", "untrue", "private", "nonsense", "refusal", "other"];

const choices = (name, prefix, codes, now) => codes.map((code, n) => make("label", { class: "ar-option" },
  make("input", { type: "radio", name, value: code, required: true, checked: now ? code === now : n === 0 }), " ", make("kbd", { "aria-hidden": "true" }, String(n + 1)), " ", say(`${prefix}-${code}`)));
const note = (name, value = "") => make("label", { class: "ar-note" }, say("note"), make("textarea", { name, rows: "2", maxlength: "300000", value }));
// Not of type submit: Enter presses the first of those.
const closing = (word, value) => button(say(word), (event) => event.target.closest("dialog").close(value));
const cancel = () => closing("cancel", "cancel");

// What these three return is null after Escape, which may be a slip, and undefined after Cancel. typed(...): called at
// every change, so that what was written outlives the slip and a reload; before: what was written so far.

export async function askSkip(root, { before, typed }) {
  const fields = [...choices("reason", "skip", SKIPS, before?.reason), note("comment", before?.comment)];
  const said = await dialog(root, say("skipWhy"), fields, [cancel(), send(say("skip"), "skip")], typed);
  return said && { cancel: undefined, skip: { reason: said.reason, comment: said.comment } }[said.action];
}

export async function askFlag(root, letter, { before, flagged, typed }) {
  const actions = [cancel(), flagged ? closing("remove", "remove") : null, send(say("ok"), "ok")];
  const fields = [...choices("code", "flag", FLAGS, before?.code), note("note", before?.note)];
  const said = await dialog(root, say("flagWhy", { letter }), fields, actions, typed);
  return said && { cancel: undefined, remove: { code: null }, ok: { code: said.code, note: said.note } }[said.action];
}

export async function askEdit(root, letter, { before, edited, typed }) {
  const field = make("textarea", {
    name: "text", rows: "14", maxlength: "300000", dir: "auto", value: before, "aria-labelledby": "ar-dialog-title",
    oninput: () => typed(field.value),
  });
  const actions = [cancel(), edited ? closing("remove", "remove") : null, send(say("ok"), "ok")];
  const asked = dialog(root, say("editing", { letter }), [field], actions);
  field.setSelectionRange(0, 0);
  field.scrollTop = 0;
  const said = await asked;
  return said && { cancel: undefined, remove: "", ok: said.text.replaceAll("\r\n", "\n") }[said.action];
}

export function showDifferences(root, [one, two]) {
  const parts = differences(one.text, two.text);
  const marked = parts.map(([kind, text]) => (kind === "both" ? text : make(kind === "only-first" ? "del" : "ins", {}, text)));
  const same = parts.every(([kind]) => kind === "both");
  const title = `${say("differences")}: ${say("against", { a: one.letter, b: two.letter })}`;
  const text = make("div", { class: "ar-differences", dir: "auto", tabindex: "0" }, same ? say("sameText") : marked);
  return dialog(root, title, [make("p", { class: "ar-key" }, make("del", {}, one.letter), " ", make("ins", {}, two.letter)), text], [send(say("close"), "close")]);
}

export function showHelp(root, way) {
  const rows = {
    order: [["↑ ↓", "arrows"], ["Shift ↑ ↓", "move"], ["1 – 9", "digit"], ["=", "tie"], ["x", "out"]],
    buckets: [["↑ ↓", "arrows"], ["1 2 3", "bucket"]],
    pair: [["← →", "arrows"], ["1 – 7", "pair"], ["=", "tie"]],
  }[way];
  const common = [["d", "diff"], ["e", "edit"], ["f", "flag"], ["o", "open"], ["c", "comment"], ["Esc", "answers"], ["Enter", "submit"], ["Ctrl Enter", "anywhere"], ["s", "skip"], ["u", "undo"], ["?", "help"]];
  const list = [...rows, ...common].map(([key, word]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, say(`key-${word}`))));
  return dialog(root, say("keys"), [make("table", { class: "ar-keys" }, make("tbody", {}, list))], [closing("close", "")]);
}
