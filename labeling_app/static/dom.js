// Making elements. What people and models wrote enters as text; `html` takes only what the server has cleaned.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "html") element.innerHTML = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export const button = (text, onclick, more = {}) => make("button", { type: "button", onclick, ...more }, text);

// A dialog over the page; what it returns when closed by its form, or null. The page behind keeps its state.
// typed(values): called at every change.
export function dialog(root, title, fields, actions, typed = () => {}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const form = make("form", { method: "dialog" }, make("h2", { id: "ar-dialog-title" }, title), fields, make("p", { class: "ar-actions" }, actions));
    const valuesNow = () => Object.fromEntries(new FormData(form));
    form.addEventListener("input", () => typed(valuesNow()));
    const box = make("dialog", { class: "ar-dialog", "aria-labelledby": "ar-dialog-title" }, form);
    box.addEventListener("close", () => {
      const said = box.returnValue ? { action: box.returnValue, ...valuesNow() } : null;
      box.remove();
      before?.focus?.();
      resolve(said);
    });
    // A digit chooses, so that nobody has to count arrows; with Ctrl, Enter sends from a text as well.
    box.addEventListener("keydown", (event) => {
      if (composes(event) || event.repeat) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(form.querySelector("[type=submit]"));
      if (event.target.matches("textarea") || !/^[1-9]$/.test(event.key)) return;
      const choice = form.querySelectorAll("input[type=radio]")[Number(event.key) - 1];
      choice?.click();
      choice?.focus(); // arrows go on from here
    });
    root.append(box);
    box.showModal();
  });
}

// Whether a key belongs to an input method, such as the Enter that ends a word in pinyin. 229: what Safari says of it.
export const composes = (event) => event.isComposing || event.keyCode === 229;

export const send = (text, value, more = {}) => make("button", { type: "submit", value, ...more }, text);
