// The page of the interface: every path, what it takes and a line to try it with, from the server's own description.
const make = (tag, fields = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), fields);
  made.append(...children);
  return made;
};

const description = await (await fetch("api/openapi.json")).json(), main = document.getElementById("interface");
const root = new URL(".", location.href).href.replace(/\/$/, "");
main.replaceChildren(make("p", {className: "caption", textContent: `${description.info.description} Errors come as {"error": "one line"}. With a token, add -H "Authorization: Bearer TOKEN".`}));
for (const [path, methods] of Object.entries(description.paths)) for (const [method, about] of Object.entries(methods)) main.append(operation(path, method, about));

function operation(path, method, about) {
  const rows = (about.parameters ?? []).map(({name, in: place, schema, required, description: text}) => [name, `${place}${required ? ", required" : ""}`, typeOf(schema), schema.default ?? "", text ?? ""]);
  const body = Object.entries(about.requestBody?.content ?? {})[0];
  const fields = body?.[1].schema.$ref ? resolve(body[1].schema.$ref) : null;
  for (const [name, schema] of Object.entries(fields?.properties ?? {})) rows.push([name, `body${fields.required?.includes(name) ? ", required" : ""}`, typeOf(schema), JSON.stringify(schema.default) ?? "", ""]);
  const send = body ? (fields ? " -H 'Content-Type: application/json' -d @request.json" : " --data-binary @FILE") : "";
  const verb = method === "get" ? "" : ` -X ${method.toUpperCase()}`;
  const table = make("table", {}, make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text, k) => make(k ? "td" : "th", {textContent: String(text), className: "word"}))))));
  return make("section", {className: "card"}, make("h2", {}, make("code", {textContent: `${method.toUpperCase()} ${path}`})), make("p", {textContent: about.description ?? ""}),
    make("pre", {className: "sideways", textContent: `curl${verb}${send} '${root}${path}'`}), make("div", {className: "sideways"}, table));
}

function resolve(reference) {
  return reference.replace("#/", "").split("/").reduce((place, key) => place[key], description);
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  return schema.type === "array" ? `list of ${typeOf(schema.items ?? {})}` : (schema.type ?? "any");
}
