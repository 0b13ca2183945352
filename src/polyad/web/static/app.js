// The page: which view is shown, files that are dropped, keys.
import {get, post} from "./api.js";
import * as catalogue from "./catalogue.js";
import * as compare from "./compare.js";
import * as design from "./design.js";
import * as lattice from "./lattice.js";
import {say, trying} from "./parts.js";
import {VIEWS, chosen, go, read} from "./state.js";

const views = {catalogue, lattice, design, compare};
const TITLES = {catalogue: "Catalogue", lattice: "Lattice", design: "Design", compare: "Compare"};

async function show() {
  const {view, params} = read();
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.dataset.view !== view;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[view]} · Lattice explorer`;
  document.documentElement.dataset.ready = "false";
  await trying(() => views[view].show(document.querySelector(`main > [data-view="${view}"]`), params));
  document.documentElement.dataset.ready = "true";
}

function count() {
  const now = chosen().length;
  document.getElementById("chosen-count").textContent = now ? `(${now})` : "";
}

export async function upload(files) {
  for (const file of files) {
    say(`Reading ${file.name} …`);
    await trying(async () => {
      const shelf = await post("upload", file, {query: {name: file.name}});
      const complaints = shelf.complaints.length ? `; ${shelf.complaints.length} could not be read: ${shelf.complaints[0]}` : "";
      say(`${shelf.title}: ${shelf.rows} ${shelf.rows === 1 ? "lattice" : "lattices"}${complaints}`);
      go("catalogue", {shelf: shelf.key});
    });
  }
}

document.addEventListener("upload", (event) => upload(event.detail));

const drop = document.getElementById("drop");
let within = 0;
addEventListener("dragenter", (event) => {
  if (event.dataTransfer?.types.includes("Files")) drop.hidden = ++within < 1;
});
addEventListener("dragleave", () => (drop.hidden = --within < 1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  within = 0;
  drop.hidden = true;
  if (event.dataTransfer.files.length) upload(event.dataTransfer.files);
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    event.preventDefault();
    if (read().view !== "catalogue") go("catalogue");
    setTimeout(() => document.querySelector("[data-view=catalogue] input[type=search]")?.focus(), 50);
  }
  const view = VIEWS[Number(event.key) - 1];
  if (view) document.querySelector(`nav [data-view="${view}"]`).click();
});

addEventListener("hashchange", show);
document.addEventListener("chosen", count);
count();
// the token has become a cookie; the address that is shared goes without it
if (location.search) history.replaceState(null, "", location.pathname + location.hash);
show();

// the catalogue fills while the server reads its files
const watch = setInterval(async () => {
  const status = await get("status").catch(() => null);
  if (!status || status.loading) return;
  clearInterval(watch);
  if (read().view === "catalogue") show();
}, 1500);
