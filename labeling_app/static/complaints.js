// What went wrong, in the person's language, with the way on beside it.

import { button, make } from "./dom.js";
import { forget } from "./drafts.js";
import { Refused } from "./server.js";
import { say } from "./words.js";

const GONE = ["lease-over", "not-yours"]; // the item is not this person's any more
const ELSEWHERE = [...GONE, "nothing-to-undo"]; // trying again would not help

export function complain(page, error) {
  if (!(error instanceof Refused)) throw error;
  const why = say(error.code);
  complainOf(page, page.item && !ELSEWHERE.includes(error.code) ? say("lost", { why }) : why, error);
}

export function complainOf(page, text, error = null) {
  page.draftComplaint = false;
  page.alert.replaceChildren(make("p", {}, text, " ", wayOn(page, error) ?? ""));
}

// Something to know that is no complaint, in the same place.
export function tell(page, text) {
  page.draftComplaint = false;
  page.alert.replaceChildren(make("p", { class: "ar-told" }, text));
}

function wayOn(page, error) {
  if (!error || error.code === "nothing-to-undo") return null;
  if (error.code === "login") return make("a", { href: `/login?${new URLSearchParams({ to: location.pathname + location.search })}` }, say("loginAgain"));
  if (GONE.includes(error.code) && page.item) return button(say("goOn"), () => { forget(page.item.lease); page.loadNext(); });
  return page.item ? null : button(say("again"), () => location.reload());
}
