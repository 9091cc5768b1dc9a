// Takes kept in this browser, the newest of them. Knows nothing of the document but its events.

import { Samples } from "./pcm.js";

const MOST = 50; // takes
const BYTES = 64 * 2 ** 20;

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const wish = indexedDB.open("higgs", 1);
    wish.onupgradeneeded = () => {
      wish.result.createObjectStore("takes", { keyPath: "id", autoIncrement: true });
    };
    wish.onsuccess = () => resolve(wish.result);
    wish.onerror = () => reject(wish.error);
  });
  return opened;
}

/** What a piece of work with the table gives, once it is written. */
async function within(mode, work) {
  const table = (await database()).transaction("takes", mode);
  const wish = work(table.objectStore("takes"));
  return new Promise((resolve, reject) => {
    table.oncomplete = () => resolve(wish?.result);
    table.onerror = table.onabort = () => reject(table.error);
  });
}

const changed = () => window.dispatchEvent(new Event("takes"));

/** Keep a take; the oldest make room. */
export async function add(take) {
  const { order, samples, utterances, seed, voice, first, took } = take;
  const { rate } = samples;
  const data = samples.all();
  const size = data.byteLength + JSON.stringify(order.body).length * 2;
  const known = { order, utterances: [...utterances], seed, voice, first, took };
  try {
    await within("readwrite", (table) => table.add({ ...known, at: Date.now(), rate, data, size, take: take.take }));
    await trim();
  } catch (error) {
    console.warn("The history could not be written.", error);
  }
  changed();
}

/** All of them, the newest first. */
export async function all() {
  const found = (await within("readonly", (table) => table.getAll())) ?? [];
  return found.reverse().map(({ data, rate, ...known }) => ({
    ...known,
    samples: Samples.from(data, rate),
  }));
}

export async function remove(id) {
  await within("readwrite", (table) => table.delete(id));
  changed();
}

export async function clear() {
  await within("readwrite", (table) => table.clear());
  changed();
}

async function trim() {
  const kept = (await within("readonly", (table) => table.getAll())).reverse();
  let bytes = 0;
  const spare = kept.filter(({ size }, place) => (bytes += size) > BYTES || place >= MOST);
  if (spare.length < kept.length) {
    await within("readwrite", (table) => spare.forEach(({ id }) => void table.delete(id)));
  }
}
