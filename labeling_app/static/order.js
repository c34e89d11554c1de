// What a person has decided so far about an item: plain data and pure functions, without a page.
//
// groups: tiers of answer keys, the best first; out: keys left out; buckets: key -> 0, 1, 2 in the other way of
// working; strength: -3 .. 3 where there are two answers (negative: the first shown is better), null while undecided.

export function begin(keys) {
  return {
    groups: keys.map((key) => [key]), out: [], buckets: {}, way: keys.length === 2 ? "pair" : "order", strength: null,
    ratings: {}, comment: "", edit: null, flags: [], moves: 0, seconds: 0,
  };
}

export const tierOf = (state, key) => state.groups.findIndex((group) => group.includes(key));
export const flat = (state) => [...state.groups.flat(), ...state.out];

function without(state, key) {
  return {
    ...state, moves: state.moves + 1, out: state.out.filter((k) => k !== key),
    groups: state.groups.map((group) => group.filter((k) => k !== key)).filter((group) => group.length),
  };
}

// Put an answer into a tier of its own, before what is now tier `at`.
export function place(state, key, at) {
  const from = tierOf(state, key);
  const alone = from >= 0 && state.groups[from].length === 1;
  const next = without(state, key);
  const index = Math.max(0, Math.min(alone && from < at ? at - 1 : at, next.groups.length));
  return { ...next, groups: [...next.groups.slice(0, index), [key], ...next.groups.slice(index)] };
}

// Put an answer on a rank, counted from 1, among the others.
export function toRank(state, key, rank) {
  const next = without(state, key);
  const index = Math.min(rank - 1, next.groups.length);
  return { ...next, groups: [...next.groups.slice(0, index), [key], ...next.groups.slice(index)] };
}

export function tieWith(state, key, other) {
  if (key === other) return state;
  const next = without(state, key);
  return { ...next, groups: next.groups.map((group) => (group.includes(other) ? [...group, key] : group)) };
}

// Tie an answer with the tier above; one that is tied already gets a tier of its own below the others.
export function toggleTie(state, key) {
  const at = tierOf(state, key);
  if (at < 0) return state;
  if (state.groups[at].length > 1) return toRank(state, key, at + 2);
  return at > 0 ? tieWith(state, key, state.groups[at - 1][0]) : state;
}

// One step up (-1) or down (1); out of a tie first.
export function step(state, key, way) {
  const at = tierOf(state, key);
  if (at < 0) return way < 0 ? { ...without(state, key), groups: [...state.groups, [key]] } : state;
  if (state.groups[at].length > 1) return toRank(state, key, way < 0 ? at + 1 : at + 2);
  const to = at + way;
  return to < 0 || to >= state.groups.length ? state : toRank(state, key, to + 1);
}

export function leaveOut(state, key) {
  if (state.out.includes(key)) return { ...without(state, key), groups: [...state.groups, [key]] };
  const next = without(state, key);
  return { ...next, out: [...next.out, key] };
}

export const toBucket = (state, key, bucket) =>
  ({ ...state, moves: state.moves + 1, buckets: { ...state.buckets, [key]: bucket } });

export const prefer = (state, strength) => ({ ...state, moves: state.moves + 1, strength });

// Ranks as the server takes them: 1 is the best, equal is a tie, null was left out.
export function ranksOf(state, keys) {
  if (state.way === "pair") {
    if (state.strength === null) return null;
    const first = state.strength <= 0 ? 1 : 2;
    const second = state.strength >= 0 ? 1 : 2;
    return { [keys[0]]: first, [keys[1]]: second };
  }
  if (state.way === "buckets") {
    const used = [...new Set(keys.map((k) => state.buckets[k]).filter((b) => b !== undefined))].sort();
    if (keys.filter((k) => state.buckets[k] !== undefined).length < 2) return null;
    return Object.fromEntries(keys.map((k) => [k, state.buckets[k] === undefined ? null : used.indexOf(state.buckets[k]) + 1]));
  }
  if (state.groups.flat().length < 2) return null;
  return Object.fromEntries(keys.map((k) => [k, tierOf(state, k) < 0 ? null : tierOf(state, k) + 1]));
}

// The state that a former ranking of the same answers came from.
export function fromRanks(keys, ranks, more = {}) {
  const state = begin(keys);
  const tiers = [...new Set(Object.values(ranks).filter((r) => r !== null))].sort((a, b) => a - b);
  state.groups = tiers.map((rank) => keys.filter((k) => ranks[k] === rank));
  state.out = keys.filter((k) => ranks[k] === null);
  if (state.way === "pair") {
    const sign = Math.sign((ranks[keys[0]] ?? 0) - (ranks[keys[1]] ?? 0));
    state.strength = sign * (more.strength ?? 1) || 0;
  }
  const flags = (more.flags ?? []).filter((flag) => flag.key).map(({ key, code, note }) => ({ key, code, note }));
  return { ...state, comment: more.comment ?? "", ratings: more.ratings ?? {}, edit: more.edit ?? null, flags, moves: 1 };
}
