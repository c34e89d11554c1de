// The ranking page: asks for an item, shows it, keeps what the person does with it, sends it, and shows the next.
//
// frame.js the bar around it · item.js an item · work.js what is done with its answers · keys.js by keys, drag.js by
// hand · drafts.js keeping it · sending.js submit, skip, undo · complaints.js what went wrong · order.js the state

import { fold } from "./cards.js";
import { complain } from "./complaints.js";
import { draftOf, keepDraft, said, soon } from "./drafts.js";
import { button, make } from "./dom.js";
import { frame } from "./frame.js";
import { showItem } from "./item.js";
import { listen } from "./keys.js";
import * as order from "./order.js";
import * as server from "./server.js";
import { chosen, look } from "./work.js";
import { say, setLanguage } from "./words.js";

const LOOK_AGAIN = 10_000;
const RENEW_EVERY = 60_000;

export async function start(root) {
  const page = new Page(root);
  await page.open();
  root.dataset.ready = "yes";
}

// What all modules of the page share: who works on what, the item that is shown, and the state of the work on it.
class Page {
  constructor(root) {
    this.root = root;
    root.className = "ar";
    this.task = "rank";
    this.way = localStorage.getItem("align-way") ?? "order";
    this.item = null;
    this.busy = false;
    this.sent = new Map(); // lease -> the state that was submitted, for an undo
    this.active = Date.now();
    for (const kind of ["pointermove", "keydown"]) document.addEventListener(kind, () => { this.active = Date.now(); }, { passive: true });
    listen(this);
    document.addEventListener("visibilitychange", () => { if (document.hidden) keepDraft(this); });
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); }); // back: as it is now
    window.addEventListener("resize", () => { if (this.item && !root.querySelector(".ar-dragging")) fold(this.main, this.cards); });
    setInterval(() => this.renew(), RENEW_EVERY);
    setInterval(() => { if (!document.hidden && this.item && this.state) this.state.seconds += 1; }, 1000);
  }

  async open() {
    const asked = new URLSearchParams(location.search);
    const wanted = this.slug = asked.get("project");
    try {
      this.who = await server.me();
      this.locale = setLanguage(this.who.locale || navigator.language);
      this.slug = server.chosen(this.who.projects, wanted);
      if (asked.get("task") === "adjudicate" && this.who.role !== "annotator") this.task = "adjudicate";
      frame(this);
      if (this.slug) await this.loadNext(asked.get("item"));
      else {
        this.emptiness = () => [say("noProject")];
        this.nothing(...this.emptiness());
      }
    } catch (error) {
      frame(this);
      this.failed = error;
      complain(this, error);
    }
  }

  async speak() {
    this.locale = setLanguage(this.locale === "en" ? "zh-CN" : "en");
    frame(this);
    if (this.item) {
      showItem(this);
      look(this, chosen(this));
    } else if (this.emptiness) this.nothing(...this.emptiness());
    else if (this.failed) complain(this, this.failed);
    await server.setLocale(this.locale).catch((error) => complain(this, error));
  }

  async turnTo(change) {
    await keepDraft(this);
    while (this.busy) await this.asked; // the answer is for what was chosen before
    Object.assign(this, change, { item: null, state: null, emptiness: null });
    this.stay();
    frame(this);
    await this.loadNext();
  }

  // A reload stays here.
  stay() {
    const deciding = this.task === "rank" ? {} : { task: this.task };
    history.replaceState(null, "", `?${new URLSearchParams({ project: this.slug, ...deciding })}`);
  }

  // Show what the server answers; whether it did. One question at a time.
  load(ask) {
    if (this.busy) return false;
    this.busy = true;
    this.asked = this.show(ask);
    return this.asked;
  }

  async show(ask) {
    clearTimeout(this.looking);
    const { main } = this;
    const at = document.activeElement;
    main.inert = true; // what was done to it from now on would be lost, or done to the next
    try {
      const told = await ask();
      main.inert = false;
      this.take(told);
      return true;
    } catch (error) {
      main.inert = false;
      at?.focus?.({ preventScroll: true });
      this.failed = error;
      complain(this, error);
      return false;
    } finally {
      this.busy = false;
    }
  }

  loadNext(item = null) {
    return this.load(() => server.next(this.slug, this.task, item));
  }

  take(told) {
    this.alert.replaceChildren();
    this.failed = null;
    if (this.item) this.root.querySelector("dialog[open]")?.close(); // it was about that one
    if ((this.item || this.emptiness) && new URLSearchParams(location.search).has("item")) this.stay(); // that one is done
    this.item = told.item;
    if (!told.item) {
      this.state = null;
      this.emptiness = () => why(told);
      this.nothing(...why(told));
      return;
    }
    if (told.item.task !== this.task) { // an undo has brought it
      this.task = told.item.task;
      this.stay();
      frame(this);
    }
    this.keysOf = told.item.answers.map((answer) => answer.key);
    this.warned = this.chosen = null;
    const draft = draftOf(told.item);
    const sent = !draft && !told.item.last && this.sent.get(told.item.lease); // before it was skipped
    this.state = draft?.state ?? (sent || this.startOf(told.item));
    this.drafted = draft !== null;
    const known = !draft?.here && !told.item.last && !sent; // else it is sent, so that another browser has it, too
    this.keptAs = known ? said(this.state) : null;
    if (!known) soon(this);
    showItem(this);
  }

  startOf(item) {
    if (item.last) return this.takenBack(item);
    const fresh = order.begin(this.keysOf);
    return fresh.way === "pair" ? fresh : { ...fresh, way: this.way };
  }

  // What an undo took back: as it was on this page, or as the server has it.
  takenBack({ lease, last }) {
    const sent = this.sent.get(lease);
    const ranks = sent && order.ranksOf(sent, this.keysOf);
    const same = ranks && sent.comment === last.comment && this.keysOf.every((key) => ranks[key] === last.ranks[key]);
    return same ? sent : order.fromRanks(this.keysOf, last.ranks, last);
  }

  // way: the word on a button to the next item.
  nothing(text, way = null) {
    clearTimeout(this.looking);
    delete this.main.dataset.lease;
    this.count.textContent = ""; // it was of the item before
    this.main.replaceChildren(make("p", { class: "ar-nothing" }, text), way ? button(say(way), () => this.loadNext()) : "");
    if (way === "again") this.lookAgain();
  }

  // Until there is an item, whatever the server said in between.
  lookAgain() {
    this.looking = setTimeout(async () => {
      if (!this.item && !await this.loadNext()) this.lookAgain();
    }, LOOK_AGAIN);
  }

  async renew() {
    if (!this.item || Date.now() - this.active > RENEW_EVERY) return;
    await server.renew(this.item.lease).catch(() => {}); // a lease that ended still takes its ranking
  }
}

// Why there is no item, and the way on, where there may be one.
function why(told) {
  const text = { "all-ranked": say("done"), "others-are-at-it": say(told.waiting === 1 ? "waitingOne" : "waiting", { n: told.waiting }) }[told.reason] ?? say(told.reason);
  return [text, { empty: "again", "others-are-at-it": "again", "not-yours-to-decide": "goOn" }[told.reason]];
}
