// What the page shows is written in the address: "#/view?key=value". Copy the address and the view is shared.

export const VIEWS = ["catalogue", "lattice", "design", "compare"];

export function read() {
  const [, view, query] = /^#\/(\w*)\??(.*)$/.exec(location.hash) ?? [null, "", ""];
  return {view: VIEWS.includes(view) ? view : "catalogue", params: new URLSearchParams(query)};
}

export function address(view, params) {
  const kept = new URLSearchParams([...new URLSearchParams(params)].filter(([, value]) => value !== ""));
  const query = kept.toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

// Go somewhere: a new entry of the browser's history, and the view is shown.
export function go(view, params = {}) {
  location.hash = address(view, params);
}

// Write what has changed within a view, without a new entry and without showing it again.
export function note(view, params) {
  history.replaceState(null, "", address(view, params));
}

// Lattices chosen for comparison, as the queries of their views; kept for the session.
const KEY = "polyad-chosen";

export function chosen() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

export function choose(queries) {
  sessionStorage.setItem(KEY, JSON.stringify(queries.slice(-6)));
  document.dispatchEvent(new CustomEvent("chosen"));
}

export function toggle(query) {
  const now = chosen();
  choose(now.includes(query) ? now.filter((one) => one !== query) : [...now, query]);
}
