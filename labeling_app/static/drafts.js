// Drafts: what was done so far with an item goes to the server. This tab keeps it as well until the server has it.

import { complain } from "./complaints.js";
import * as server from "./server.js";

const DRAFT_AFTER = 500; // milliseconds without a change
export const AGAIN_AFTER = 10_000; // and after the server did not take it

export function soon(page, after = DRAFT_AFTER) {
  clearTimeout(page.drafting);
  page.drafting = setTimeout(() => keepDraft(page), after);
}

export async function keepDraft(page) {
  clearTimeout(page.drafting);
  const { item, state } = page;
  if (!item || !(begun(state) || page.drafted) || said(state) === page.keptAs) return;
  const now = said(state);
  const body = { version: 1, keys: page.keysOf, state };
  const text = JSON.stringify(body);
  page.drafted = true; // what is taken back from now on is to be kept, too
  keepHere(item.lease, text);
  if (page.busy) return; // being submitted
  try {
    await server.saveDraft(item.lease, body);
    if (page.item === item) page.keptAs = now;
    if (textHere(item.lease) === text) forget(item.lease);
    if (page.item === item && page.draftComplaint) page.alert.replaceChildren();
    page.draftComplaint = false;
  } catch (error) {
    if (page.item !== item || page.busy) return; // it was submitted meanwhile
    complain(page, error);
    page.draftComplaint = true;
    if (error.passes) soon(page, AGAIN_AFTER);
  }
}

// What a person did, without the time it took. A tab in which nothing was done must not save over what another did.
export const said = (state) => JSON.stringify({ ...state, seconds: 0 });

const begun = (state) => state.moves > 0 || state.comment !== "" || state.edit || state.begun || state.flags.length > 0 ||
  Object.keys(state.ratings).length > 0 || Object.keys(state.unused ?? {}).length > 0;

// What was written in the dialog of a skip ("skip") or of a flag (the answer's key) and has not been used so far. It is
// there when the dialog is opened again.
export function keepUnused(page, what, said) {
  if (!said && !page.state.unused?.[what]) return;
  const { [what]: _, ...others } = page.state.unused ?? {};
  page.state.unused = said ? { ...others, [what]: said } : others;
  soon(page);
}

// The state that a draft of this item has, or null; here: whether only this tab has it.
export function draftOf(item) {
  const here = parsed(textHere(item.lease));
  const kept = here ?? item.draft;
  const keys = item.answers.map((answer) => answer.key);
  return kept?.version === 1 && kept.keys.join() === keys.join() ? { state: kept.state, here: here !== null } : null;
}

function parsed(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

const nameOf = (lease) => `align-${lease}`;
const textHere = (lease) => sessionStorage.getItem(nameOf(lease));
export const forget = (lease) => sessionStorage.removeItem(nameOf(lease));

function keepHere(lease, text) {
  try {
    sessionStorage.setItem(nameOf(lease), text);
  } catch {
    // This tab has no room left: the server has the draft, or says that it has not.
  }
}
