// Dragging by the handle with pointer events: mouse, pen and touch alike.
//
// While an answer is dragged, all of them are shown short, so that every place is near. The upper and lower quarter of
// a tier mean before and after it; its middle means a tie.

const EDGE = 70;

// drop(key, target): target is {before: tier}, {tie: key}, {out: true} or {bucket: n | undefined}.
export function draggable(place, drop) {
  let held = null;

  place.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest("[data-handle]");
    if (!handle || held || event.button !== 0) return; // a second finger drags nothing
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    const card = handle.closest(".ar-card");
    card.focus({ preventScroll: true }); // which a press does by itself, but for preventDefault: keys are to act on it
    const before = handle.getBoundingClientRect().top;
    place.classList.add("ar-dragging");
    card.classList.add("ar-held");
    window.scrollBy(0, handle.getBoundingClientRect().top - before); // what got shorter above moved the handle away
    held = { pointer: event.pointerId, key: handle.dataset.handle, card, handle, x: event.clientX, y: event.clientY, from: event.clientY, scrolled: window.scrollY, most: document.documentElement.scrollHeight - innerHeight, moved: false, target: null };
    requestAnimationFrame(follow);
  });
  place.addEventListener("pointermove", (event) => {
    if (!ours(event)) return;
    Object.assign(held, { x: event.clientX, y: event.clientY, moved: true });
    aim();
  });
  place.addEventListener("pointerup", (event) => { if (ours(event)) end(true); });
  for (const kind of ["pointercancel", "lostpointercapture"]) place.addEventListener(kind, (event) => { if (ours(event)) end(false); });
  document.addEventListener("keydown", (event) => { if (held && event.key === "Escape") end(false); });

  const ours = (event) => held?.pointer === event.pointerId;

  function aim() {
    held.target = targetAt(place, held);
    mark(place, held.target);
  }

  function follow() {
    if (!place.isConnected) end(false); // another item has come
    if (!held) return;
    const speed = held.y < EDGE ? held.y - EDGE : held.y > innerHeight - EDGE ? held.y - innerHeight + EDGE : 0;
    const before = window.scrollY;
    // No further than the page went before: what is dragged makes it longer, without an end.
    if (speed && held.moved) window.scrollBy(0, Math.min(speed / 4, Math.max(0, held.most - before)));
    if (window.scrollY !== before && held.moved) aim(); // other places come under a finger that rests
    held.card.style.transform = `translateY(${held.y - held.from + window.scrollY - held.scrolled}px)`;
    requestAnimationFrame(follow);
  }

  function end(dropped) {
    if (!held) return;
    if (dropped && held.moved) aim();
    const { key, card, target } = held;
    held = null;
    card.style.transform = "";
    card.classList.remove("ar-held");
    place.classList.remove("ar-dragging");
    mark(place, null);
    if (dropped && target) drop(key, target);
    card.scrollIntoView({ block: "nearest" });
  }
}

function targetAt(place, held) {
  const inside = (box) => held.y >= box.top && held.y <= box.bottom && held.x >= box.left - 40 && held.x <= box.right + 40;
  for (const zone of place.querySelectorAll("[data-bucket]")) {
    if (inside(zone.getBoundingClientRect())) {
      return { bucket: zone.dataset.bucket === "" ? undefined : Number(zone.dataset.bucket), element: zone };
    }
  }
  const out = place.querySelector("[data-out]"); // an empty one is shown as long as something is dragged
  if (out && inside(out.getBoundingClientRect())) return { out: true, element: out };
  const tiers = [...place.querySelectorAll("[data-tier]")];
  for (const element of tiers) {
    const box = element.getBoundingClientRect();
    const at = Number(element.dataset.tier);
    const share = (held.y - box.top) / box.height;
    if (share < 0) return { before: at, element, side: "before" };
    if (share > 1) continue;
    if (share < 0.25) return { before: at, element, side: "before" };
    if (share > 0.75) return { before: at + 1, element, side: "after" };
    const other = [...element.querySelectorAll(".ar-card")].find((card) => card.dataset.key !== held.key);
    return other ? { tie: other.dataset.key, element, side: "tie" } : null;
  }
  return tiers.length ? { before: tiers.length, element: tiers.at(-1), side: "after" } : null;
}

function mark(place, target) {
  for (const element of place.querySelectorAll("[data-drop]")) delete element.dataset.drop;
  if (target) target.element.dataset.drop = target.side ?? "into";
}
