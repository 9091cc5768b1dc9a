// Records from the microphone, as samples. Knows nothing of the page.

import { Samples, toInt16 } from "./pcm.js";
import { t } from "./i18n.js";

/** Begin; gives { stop }, and stop gives the samples. Throws where there is no microphone. */
export async function record(heard) {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) throw new Error(t("clone.insecure"));
  const stream = await microphone();
  const context = new AudioContext();
  const samples = new Samples(context.sampleRate);
  await context.audioWorklet.addModule("/page/js/worklet.js");
  const node = new AudioWorkletNode(context, "higgs-recorder", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => {
    samples.add(toInt16(mixed(data)));
    heard(samples);
  };
  context.createMediaStreamSource(stream).connect(node);
  const stop = async () => {
    for (const track of stream.getTracks()) track.stop();
    await context.close();
    return samples;
  };
  return { stop };
}

async function microphone() {
  // What cleans up calls would change the voice.
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: plain });
  } catch {
    throw new Error(t("clone.refused"));
  }
}

function mixed(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, at) => channels.reduce((sum, one) => sum + one[at], 0) / channels.length);
}
