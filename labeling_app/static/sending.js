// Submitting, skipping, undoing: the server answers each with the next item to show.

import { letterOf } from "./cards.js";
import { complainOf, tell } from "./complaints.js";
import { askSkip } from "./dialogs.js";
import { AGAIN_AFTER, forget, keepDraft, keepUnused, soon } from "./drafts.js";
import * as order from "./order.js";
import * as server from "./server.js";
import { say } from "./words.js";

const LONGEST = 86_400; // seconds that an item may be said to have taken
const SLIP = 600; // milliseconds within which a second press is a slip of the first

export async function submit(page) {
  if (!page.item || page.busy) return;
  const { state } = page;
  if (state === page.came && performance.now() - page.went < SLIP) return; // a second press of the one before
  const ranks = order.ranksOf(state, page.keysOf);
  if (!ranks) {
    complainOf(page, say(state.way === "pair" ? "undecided" : "unplaced"));
    return;
  }
  const doubt = doubtOf(state, page.keysOf);
  if (doubt && page.meant !== state) {
    page.meant = state; // said once more, it is meant
    page.warned = performance.now();
    complainOf(page, doubt);
    return;
  }
  if (page.warned && performance.now() - page.warned < SLIP) return;
  const { strength, way, comment, edit, moves } = state;
  const ratings = fitting(state.ratings, page.item);
  const sent = { ...headOf(page), ranks, ratings, comment, moves: Math.max(1, moves) };
  if (way === "pair" && strength) sent.strength = Math.abs(strength);
  if (edit) sent.edit = edit;
  await close(page, server.submit, sent);
}

// Ratings on what the item is still rated on: a draft may be older than the project's settings.
function fitting(ratings, item) {
  const fits = ([name, value]) => item.attributes.includes(name) && value <= item.rating_max;
  return Object.fromEntries(Object.entries(ratings).map(([key, own]) => [key, Object.fromEntries(Object.entries(own).filter(fits))]));
}

// What a person may not have meant: an edit or a flag left half-way, nothing moved, or answers that no bucket holds.
function doubtOf(state, keys) {
  if (state.begun || keys.some((key) => state.unused?.[key])) return say("unfinished");
  if (!state.moves) return say("untouched");
  const left = state.way === "buckets" ? keys.filter((key) => state.buckets[key] === undefined) : [];
  return left.length ? say("left", { letters: left.map((key) => letterOf(keys, key)).join(", ") }) : null;
}

export async function skip(page) {
  if (!page.item || page.busy) return;
  const { item } = page;
  const said = await askSkip(page.root, { before: page.state.unused?.skip, typed: (now) => keepUnused(page, "skip", now) });
  if (page.item !== item) return;
  if (said === undefined) keepUnused(page, "skip", null);
  if (!said) return;
  const sent = { ...headOf(page), reason: said.reason, comment: said.comment };
  await close(page, server.skip, sent);
}

export async function undo(page) {
  await keepDraft(page);
  if (await page.load(() => server.undo(page.slug))) tell(page, say("undone"));
}

// What a submission and a skip have in common.
function headOf(page) {
  const { flags, seconds } = page.state;
  return { lease: page.item.lease, flags, seconds: Math.min(seconds, LONGEST) };
}

// The same once more has the same token: if only the answer was lost, it is not saved twice. What was changed since
// has another: it must not pass for what was saved.
function tokenOf(page, sent) {
  const said = JSON.stringify({ ...sent, seconds: 0 });
  if (page.tried?.said !== said) page.tried = { said, token: server.newToken() };
  return page.tried.token;
}

async function close(page, send, sent) {
  clearTimeout(page.drafting);
  const { item, state } = page;
  const token = tokenOf(page, sent);
  page.root.classList.add("ar-busy");
  if (await page.load(() => send(page.slug, page.task, { ...sent, token }))) {
    page.tried = null; // undone and sent again as it was, it is to be saved again
    forget(item.lease);
    page.sent.set(item.lease, { ...state, unused: {} });
    page.says.textContent = say("saved");
    Object.assign(page, { came: page.state, went: performance.now() });
  } else {
    soon(page, AGAIN_AFTER);
  }
  page.root.classList.remove("ar-busy");
}
