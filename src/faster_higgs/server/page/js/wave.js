// A sound as bars on a canvas. Knows nothing of playing.

const WIDTH = 3;
const GAP = 2;

/** Draw samples over the width of `total` samples, in the accent as far as `place`. */
export function draw(canvas, samples, { place = 0, total = samples?.length ?? 0 } = {}) {
  const pen = fitted(canvas);
  const { width, height } = canvas.getBoundingClientRect();
  const style = getComputedStyle(canvas);
  const accent = style.getPropertyValue("--accent");
  const rest = style.getPropertyValue("--wave");
  const scale = Math.max(0.1, samples?.loudest ?? 0);
  const count = Math.max(1, Math.floor((width + GAP) / (WIDTH + GAP)));
  for (let bar = 0; bar < count; bar += 1) {
    const [begin, end] = [bar / count, (bar + 1) / count];
    const there = samples && begin * total < samples.length;
    const loud = there ? Math.sqrt(samples.peak(begin, end, total) / scale) : 0;
    const tall = Math.max(WIDTH, loud * height);
    pen.fillStyle = there && begin * total < place ? accent : rest;
    pen.globalAlpha = there ? 1 : 0.5;
    pen.beginPath();
    pen.roundRect(bar * (WIDTH + GAP), (height - tall) / 2, WIDTH, tall, WIDTH / 2);
    pen.fill();
  }
}

/** A line of values, newest last, filled below. */
export function line(canvas, values, most) {
  const pen = fitted(canvas);
  const { width, height } = canvas.getBoundingClientRect();
  const accent = getComputedStyle(canvas).getPropertyValue("--accent");
  const step = width / Math.max(1, values.length - 1);
  const y = (value) => height - 2 - (height - 4) * Math.min(1, value / (most || 1));
  pen.beginPath();
  values.forEach((value, at) => pen.lineTo(at * step, y(value)));
  pen.strokeStyle = accent;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(0, height);
  pen.fillStyle = accent;
  pen.globalAlpha = 0.12;
  pen.fill();
}

/** An empty pen at the screen's own sharpness. */
function fitted(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const sharp = window.devicePixelRatio || 1;
  const size = [Math.round(width * sharp), Math.round(height * sharp)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.globalAlpha = 1;
  return pen;
}
