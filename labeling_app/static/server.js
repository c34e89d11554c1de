// What the page asks of the API. An error has a `code`, which the page puts into the person's language.

export class Refused extends Error {
  constructor(code, told = "", status = 0) {
    super(told || code);
    this.code = code;
    this.passes = code === "offline" || code === "not-saved"; // another try may do
    this.status = status;
  }
}

async function ask(method, path, body, more = {}) {
  let response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method, credentials: "same-origin", cache: "no-store",
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body), ...more,
    });
  } catch {
    throw new Refused("offline");
  }
  const told = await response.json().catch(() => ({}));
  if (response.ok) return told;
  throw new Refused(told.error?.code ?? (response.status >= 500 ? "offline" : "bad-request"), told.error?.found, response.status);
}

// The project that an address asks for, or the first. One that is not there is listed too, and the server says so: to
// open another in its place would have people rank the wrong one.
export function chosen(projects, wanted) {
  if (wanted && !projects.some((p) => p.slug === wanted)) projects.unshift({ slug: wanted });
  return wanted || projects[0]?.slug;
}

const project = (slug) => `/projects/${encodeURIComponent(slug)}`;

export const me = () => ask("GET", "/me");
export const setLocale = (locale) => ask("PUT", "/me/locale", { locale });
export const next = (slug, task, item = null) => ask("POST", `${project(slug)}/next?task=${task}${item ? `&item=${encodeURIComponent(item)}` : ""}`);
export const quality = (slug) => ask("GET", `${project(slug)}/quality`);
export const submit = (slug, task, sent) => ask("POST", `${project(slug)}/submit?task=${task}`, sent);
export const skip = (slug, task, sent) => ask("POST", `${project(slug)}/skip?task=${task}`, sent);
export const undo = (slug) => ask("POST", `${project(slug)}/undo`);
// A small one goes out even while the page is closed; browsers allow 64 kB for that.
export const saveDraft = (lease, body) => ask("PUT", "/draft", { lease, body }, { keepalive: JSON.stringify(body).length < 20_000 });
export const renew = (lease) => ask("POST", "/renew", { lease });
export const leave = (lease) => ask("POST", "/leave", { lease });
export const newToken = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
