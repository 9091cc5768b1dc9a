// The server's answers: JSON, sound, events; the key; errors as sentences. Knows nothing of views.

import { t } from "./i18n.js";
import { askKey, forgetKey, key } from "./key.js";

/** What the server refused, in a sentence for people. */
export class Refused extends Error {
  constructor(message, { status = 0, code = "", param = null, wait = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param, wait });
  }

  /** Whether this server has no such endpoint at all. */
  get missing() {
    return (this.status === 404 && this.code === "not_found") || this.status === 405;
  }
}

/** One request; asks for a key where one is needed. Throws Refused. */
export async function ask(path, { method, json, form, signal } = {}) {
  const body = json === undefined ? form : JSON.stringify(json);
  const way = method ?? (body === undefined ? "GET" : "POST");
  for (;;) {
    const headers = json === undefined ? {} : { "Content-Type": "application/json" };
    const used = key();
    if (used) headers.Authorization = `Bearer ${used}`;
    const answer = await sent(path, { method: way, headers, body, signal });
    if (answer.status !== 401) return answer.ok ? answer : refuse(answer);
    if (used && used === key()) forgetKey();
    if (!key() && !(await askKey(Boolean(used)))) return refuse(answer);
  }
}

export const getJson = async (path, more) => (await ask(path, more)).json();

async function sent(path, options) {
  try {
    return await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(t("error.network"));
  }
}

async function refuse(answer) {
  const told = await answer.json().catch(() => ({}));
  const { message, code, param } = told.error ?? { message: told.detail };
  const wait = Number(answer.headers.get("Retry-After")) || null;
  const sentence = answer.status === 429 ? t("error.full", { n: wait ?? 1 }) : message;
  throw new Refused(sentence || t("error.status", { n: answer.status }), {
    ...{ status: answer.status, code: code ?? "", param: param ?? null, wait },
  });
}

/** Server-sent events of an answer, as objects. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have failed already, and said so
  }
}
