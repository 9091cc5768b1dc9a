// One speech: asked for, received piece by piece, and what became known of it.
//
// Knows nothing of the document. Events: sound (detail: what came), utterance, end.

import { ask, events, Refused } from "./api.js";
import { fromBase64, Samples } from "./pcm.js";
import { t } from "./i18n.js";

const LETTER = 0.065; // seconds, to guess how long a speech will be

export class Take extends EventTarget {
  #stop = new AbortController();

  samples = new Samples();
  utterances = []; // { text, start, end, speaker }; seconds
  state = "asked"; // then making, and at last done, stopped or failed
  seed = null;
  voice = "";
  take = null; // by which the server knows it, for a while
  first = null; // seconds to the first sound
  took = null; // seconds of making
  finish = "stop"; // why it ended
  error = null;

  /** `order` is { path, body, text, kind }: what is asked of whom, and what people call it. */
  constructor(order) {
    super();
    this.order = order;
    this.begun = performance.now();
    this.guess = Math.max(1, order.text.length * LETTER) / (order.body.speed ?? 1);
  }

  get busy() {
    return this.state === "asked" || this.state === "making";
  }

  /** Seconds of making for one of sound. */
  get factor() {
    if (!this.samples.length) return null;
    return (this.took ?? this.#since()) / this.samples.seconds;
  }

  stop() {
    this.#stop.abort();
  }

  /** Ask, and receive all of it. Never throws: `state` and `error` tell. */
  async receive() {
    try {
      await this.#receive();
      this.state = "done";
    } catch (error) {
      this.state = error.name === "AbortError" ? "stopped" : "failed";
      this.error = this.state === "failed" ? error : null;
    }
    this.took ??= this.#since();
    this.dispatchEvent(new Event("end"));
  }

  async #receive() {
    const { path, body } = this.order;
    const json = { ...body, stream_format: "sse", response_format: "pcm", utterance_events: true };
    const answer = await ask(path, { json, signal: this.#stop.signal });
    this.samples = new Samples(Number(answer.headers.get("X-Sample-Rate")) || 24_000);
    this.seed = answer.headers.get("X-Seed");
    this.voice = answer.headers.get("X-Voice") ?? "";
    this.take = answer.headers.get("X-Take");
    let whole = false;
    for await (const event of events(answer)) whole = this.#heard(event) || whole;
    if (!whole) throw new Refused(t("error.broken"));
  }

  /** One event; whether it was the last. */
  #heard(event) {
    const kind = event.type.replace("speech.audio.", "");
    if (kind === "delta") this.#sound(fromBase64(event.audio));
    if (kind.startsWith("utterance.")) this.#utterance(event);
    if (kind === "error") throw new Refused(event.error.message, event.error);
    if (kind !== "done") return false;
    this.took = this.#since();
    this.take = event.take; // none, if no voice can be made of it
    this.finish = event.finish_reason;
    return true;
  }

  #utterance({ index, text, start, end = null, speaker = "" }) {
    this.utterances[index] = { text, start, end, speaker };
    this.dispatchEvent(new Event("utterance"));
  }

  #sound(data) {
    this.first ??= this.#since();
    this.state = "making";
    this.samples.add(data);
    this.dispatchEvent(new CustomEvent("sound", { detail: data }));
  }

  #since() {
    return (performance.now() - this.begun) / 1000;
  }
}
