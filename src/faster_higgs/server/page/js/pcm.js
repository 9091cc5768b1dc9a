// Samples of 16 bits that grow while they arrive, and WAV files of them. Knows nothing of playing.

const BAR = 240; // samples: the finest step of a drawing

export class Samples {
  constructor(rate = 24_000) {
    this.rate = rate;
    this.length = 0;
    this.peaks = []; // loudest of each BAR samples, 0 to 1
    this.loudest = 0;
    this.kept = new Int16Array(rate);
  }

  static from(data, rate) {
    const made = new Samples(rate);
    made.add(data);
    return made;
  }

  get seconds() {
    return this.length / this.rate;
  }

  /** Append; gives what was appended. */
  add(data) {
    while (this.length + data.length > this.kept.length) {
      const larger = new Int16Array(this.kept.length * 2);
      larger.set(this.kept.subarray(0, this.length));
      this.kept = larger;
    }
    this.kept.set(data, this.length);
    this.length += data.length;
    this.measure();
    return data;
  }

  from(place) {
    return this.kept.subarray(place, this.length);
  }

  all() {
    return this.kept.slice(0, this.length);
  }

  same(other) {
    if (this.length !== other.length) return false;
    return this.from(0).every((sample, place) => sample === other.kept[place]);
  }

  /** The loudest of a stretch given as shares of `total` samples, 0 to 1. */
  peak(begin, end, total) {
    let most = 0;
    const last = Math.max(Math.floor((begin * total) / BAR) + 1, Math.floor((end * total) / BAR));
    for (let place = Math.floor((begin * total) / BAR); place < last; place += 1) {
      most = Math.max(most, this.peaks[place] ?? 0);
    }
    return most;
  }

  measure() {
    while ((this.peaks.length + 1) * BAR <= this.length) {
      let most = 0;
      const begin = this.peaks.length * BAR;
      for (let place = begin; place < begin + BAR; place += 1) {
        most = Math.max(most, Math.abs(this.kept[place]));
      }
      this.peaks.push(most / 32_768);
      this.loudest = Math.max(this.loudest, most / 32_768);
    }
  }

  wav() {
    const head = new DataView(new ArrayBuffer(44));
    const words = (place, text) =>
      [...text].forEach((letter, at) => head.setUint8(place + at, letter.charCodeAt(0)));
    words(0, "RIFF");
    head.setUint32(4, 36 + this.length * 2, true);
    words(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true);
    head.setUint16(22, 1, true);
    head.setUint32(24, this.rate, true);
    head.setUint32(28, this.rate * 2, true);
    head.setUint16(32, 2, true);
    head.setUint16(34, 16, true);
    words(36, "data");
    head.setUint32(40, this.length * 2, true);
    return new Blob([head, this.from(0)], { type: "audio/wav" });
  }
}

/** Numbers from -1 to 1 as 16 bits. */
export function toInt16(floats) {
  return Int16Array.from(floats, (one) => Math.round(Math.max(-1, Math.min(1, one)) * 32_767));
}

export function toFloats(data) {
  return Float32Array.from(data, (one) => one / 32_768);
}

/** Base64 as 16-bit samples. */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** Any sound file the browser can read, as samples at a rate. */
export async function decoded(blob, rate) {
  const context = new OfflineAudioContext(1, 1, rate);
  const sound = await context.decodeAudioData(await blob.arrayBuffer());
  const mixed = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel += 1) {
    const data = sound.getChannelData(channel);
    for (let place = 0; place < mixed.length; place += 1) {
      mixed[place] += data[place] / sound.numberOfChannels;
    }
  }
  return Samples.from(toInt16(mixed), rate);
}
