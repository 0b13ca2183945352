// Requests to the server; every refusal becomes an Error with the server's own line.

export async function get(path, query = {}) {
  return answer(await fetch(`api/${path}${text(query)}`));
}

export async function post(path, body, {signal, query = {}} = {}) {
  const raw = body instanceof Blob;
  return answer(await fetch(`api/${path}${text(query)}`, {
    method: "POST", signal, body: raw ? body : JSON.stringify(body), headers: {"content-type": raw ? "application/octet-stream" : "application/json"},
  }));
}

export async function remove(path) {
  return answer(await fetch(`api/${path}`, {method: "DELETE"}));
}

// Ask for a file and hand it to the browser's downloads.
export async function download(request) {
  const response = await fetch("api/export", {method: "POST", body: JSON.stringify(request), headers: {"content-type": "application/json"}});
  if (!response.ok) throw new Error((await response.json()).error);
  const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition"))[1];
  const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(await response.blob()), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return name;
}

async function answer(response) {
  const data = await response.json().catch(() => ({error: `the server answered ${response.status}`}));
  if (!response.ok) throw new Error(data.error ?? `the server answered ${response.status}`);
  return data;
}

function text(query) {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(query))
    for (const one of Array.isArray(value) ? value : [value]) if (one !== "" && one !== null && one !== undefined) found.append(key, one);
  const written = found.toString();
  return written ? `?${written}` : "";
}
