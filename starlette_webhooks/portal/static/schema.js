// A JSON Schema as a table that people can read.

import { h } from "./dom.js";
import { table } from "./lists.js";

const MAX_DEPTH = 6;
const LIMITS = [
  ["format", (value) => `format ${value}`],
  ["const", (value) => `always ${JSON.stringify(value)}`],
  ["minimum", (value) => `at least ${value}`],
  ["exclusiveMinimum", (value) => `more than ${value}`],
  ["maximum", (value) => `at most ${value}`],
  ["exclusiveMaximum", (value) => `less than ${value}`],
  ["multipleOf", (value) => `multiple of ${value}`],
  ["minLength", (value) => `${value} characters or more`],
  ["maxLength", (value) => `up to ${value} characters`],
  ["minItems", (value) => `${value} items or more`],
  ["maxItems", (value) => `up to ${value} items`],
  ["pattern", (value) => `matches ${value}`],
  ["default", (value) => `default ${JSON.stringify(value)}`],
];

/** A row for each field: its name, type, whether it is required, and what it means. */
export function schemaTable(schema) {
  const rows = [...fields(schema, schema, [], 0, new Set())];
  if (rows.length === 0) return h("p", { class: "note" }, "Any JSON object.");
  return table("Fields of data", [["Field", ""], ["Type", ""], ["Description", "wide"]], h("tbody", {}, rows.map(line)));
}

function line({ trail, type, required, description, limits, values }) {
  const name = trail.at(-1);
  const parents = trail.slice(0, -1).join(".");
  const about = [
    description && h("div", {}, description),
    limits.length > 0 && h("div", { class: "note" }, limits.join(" · ")),
    values.length > 0 && h("div", { class: "chips" }, values.map((value) => h("code", { class: "chip" }, JSON.stringify(value)))),
  ];
  const field = [h("code", {}, parents && h("span", { class: "faint" }, `${parents}.`), name), required && h("span", { class: "required" }, "required")];
  return h(
    "tr",
    {},
    h("td", {}, h("div", { class: "schema-name" }, field), h("div", { class: "narrow-only" }, about.map((part) => part && part.cloneNode(true)))),
    h("td", {}, h("span", { class: "type" }, type)),
    h("td", { class: "wide" }, about),
  );
}

function* fields(root, schema, trail, depth, seen) {
  const node = resolve(root, schema);
  if (depth > MAX_DEPTH || seen.has(node)) return;
  const inside = new Set(seen).add(node);
  for (const part of node.allOf ?? []) yield* fields(root, part, trail, depth, inside);
  for (const part of variants(node)) yield* fields(root, part, trail, depth, inside);
  for (const [name, raw] of Object.entries(node.properties ?? {})) {
    const value = resolve(root, raw);
    const here = [...trail, name];
    yield {
      trail: here,
      type: typeName(root, value),
      required: (node.required ?? []).includes(name),
      description: value.description ?? titleOf(name, value),
      limits: LIMITS.filter(([key]) => value[key] !== undefined && value[key] !== null).map(([key, words]) => words(value[key])),
      values: value.enum ?? [],
    };
    yield* fields(root, value, here, depth + 1, inside);
    if (value.items) yield* fields(root, value.items, [...trail, `${name}[]`], depth + 1, inside);
  }
}

// Pydantic makes a title of each name, which says nothing more: `Invoiceid`, `Amount Paid`.
function titleOf(name, { title = "" }) {
  const letters = (text) => String(text).replace(/[^\p{L}\p{N}]/gu, "").toLowerCase();
  return letters(title) === letters(name) ? "" : title;
}

const variants = (node) => [...(node.anyOf ?? []), ...(node.oneOf ?? [])];

function typeName(root, node) {
  const options = variants(node);
  if (options.length > 0) return [...new Set(options.map((option) => typeName(root, resolve(root, option))))].join(" or ");
  if (node.allOf?.length === 1) return typeName(root, resolve(root, node.allOf[0]));
  if (Array.isArray(node.type)) return node.type.join(" or ");
  if (node.type === "array") return node.items ? `${typeName(root, resolve(root, node.items))}[]` : "array";
  if (node.type) return String(node.type);
  if (node.properties) return "object";
  return node.enum || node.const !== undefined ? typeof (node.enum?.[0] ?? node.const) : "any";
}

function resolve(root, node) {
  if (node === true || node === null || typeof node !== "object") return {};
  if (typeof node.$ref !== "string" || !node.$ref.startsWith("#/")) return node;
  const steps = node.$ref.slice(2).split("/").map((step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
  const target = steps.reduce((value, step) => value?.[step], root);
  const { $ref, ...own } = node;
  return typeof target === "object" && target !== null && target !== node ? { ...target, ...own } : own;
}

