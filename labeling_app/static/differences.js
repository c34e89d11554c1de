// Two texts word by word: what only the first has, what only the second has, what both have (longest common
// subsequence; Myers 1986 would be faster, but answers are short). Long texts are compared line by line.

const MOST_CELLS = 4_000_000;

export function differences(one, two) {
  let a = pieces(one, /\s+|[\p{Script=Han}]|[^\s\p{Script=Han}]+/gu);
  let b = pieces(two, /\s+|[\p{Script=Han}]|[^\s\p{Script=Han}]+/gu);
  if (a.length * b.length > MOST_CELLS) [a, b] = [pieces(one, /[^\n]*\n?/g), pieces(two, /[^\n]*\n?/g)];
  if (a.length * b.length > MOST_CELLS) return [["only-first", one], ["only-second", two]];
  const width = b.length + 1;
  const best = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i * width + j] = a[i] === b[j]
        ? best[(i + 1) * width + j + 1] + 1
        : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const found = [];
  const add = (kind, text) => {
    const last = found.at(-1);
    if (last && last[0] === kind) last[1] += text;
    else found.push([kind, text]);
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { add("both", a[i]); i++; j++; }
    else if (j >= b.length || (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) add("only-first", a[i++]);
    else add("only-second", b[j++]);
  }
  return found;
}

const pieces = (text, pattern) => text.match(pattern)?.filter((piece) => piece !== "") ?? [];
