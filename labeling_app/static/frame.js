// The frame around an item: the bar with its buttons, the place for complaints, the place for the item.

import { showHelp } from "./dialogs.js";
import { button, make } from "./dom.js";
import { undo } from "./sending.js";
import { say } from "./words.js";

export function frame(page) {
  document.documentElement.lang = page.locale ?? "en";
  page.count = make("span", { class: "ar-count" });
  page.says = make("div", { class: "ar-says", role: "status", "aria-live": "polite" });
  page.alert = make("div", { class: "ar-alert", role: "alert" });
  page.main = make("div", { class: "ar-main" });
  page.root.replaceChildren(
    make("header", { class: "ar-bar" },
      make("h1", {}, say("title")), projects(page), page.count,
      make("span", { class: "ar-space" }),
      forReviewers(page),
      button(say("undo"), () => undo(page), { class: "ar-undo" }),
      button(say("help"), () => showHelp(page.root, page.state?.way ?? "order"), { class: "ar-help" }),
      button(say("language"), () => page.speak(), { class: "ar-language", lang: page.locale === "en" ? "zh-CN" : "en" }),
      page.who && page.who.name !== "local" ? make("form", { method: "post", action: "/logout" }, make("button", { type: "submit" }, say("logout"))) : null),
    page.alert, page.main, page.says);
}

function projects(page) {
  const all = page.who?.projects ?? [];
  if (all.length < 2) return null;
  return make("select", { "aria-label": say("project"), onchange: (e) => page.turnTo({ slug: e.target.value }) },
    all.map((p) => make("option", { value: p.slug, selected: p.slug === page.slug }, p.slug)));
}

function forReviewers(page) {
  if (!page.who || page.who.role === "annotator") return null;
  const tasks = ["rank", "adjudicate"].map((task) => button(say(task), () => page.turnTo({ task }), { "aria-pressed": String(task === page.task) }));
  return [
    make("span", { class: "ar-choice" }, tasks),
    page.slug ? make("a", { class: "ar-link", href: `/app/quality/?project=${encodeURIComponent(page.slug)}` }, say("quality")) : null,
  ];
}
