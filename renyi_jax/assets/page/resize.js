// Brings a picture to the size of the model, with the pixels that Pillow computes in Python:
// a separable filter, wider where the picture shrinks, in integers of 22 bits after the point.

const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    x = Math.abs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  }],
};
const ONE = 2 ** 22;

function coefficients(from, to, [support, filter]) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support * stretch + 0.5));
    const last = Math.min(from, Math.trunc(center + support * stretch + 0.5));
    const weights = [];
    for (let x = first; x < last; x++) weights.push(filter((x - center + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    const round = (weight) => Math.trunc((weight / sum) * ONE + (weight < 0 ? -0.5 : 0.5));
    return { first, weights: weights.map(round) };
  });
}

// Resizes one axis of `count` lines of RGB; `step` and `line` are distances in pixels.
function resizeAxis(pixels, from, to, count, filter, { step, line, outStep, outLine }) {
  const resized = new Uint8ClampedArray(3 * to * count);
  coefficients(from, to, filter).forEach(({ first, weights }, place) => {
    for (let row = 0; row < count; row++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = ONE / 2;
        for (let i = 0; i < weights.length; i++) {
          sum += weights[i] * pixels[3 * ((first + i) * step + row * line) + channel];
        }
        resized[3 * (place * outStep + row * outLine) + channel] = Math.floor(sum / ONE);
      }
    }
  });
  return resized;
}

export function resize({ pixels, width, height }, newWidth, newHeight, interpolation) {
  const filter = FILTERS[interpolation];
  if (newWidth !== width) {
    const places = { step: 1, line: width, outStep: 1, outLine: newWidth };
    pixels = resizeAxis(pixels, width, newWidth, height, filter, places);
  }
  if (newHeight !== height) {
    const places = { step: newWidth, line: 1, outStep: newWidth, outLine: 1 };
    pixels = resizeAxis(pixels, height, newHeight, newWidth, filter, places);
  }
  return { pixels, width: newWidth, height: newHeight };
}

// Halves go to the even number, as in Python.
function round(x) {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}

// The middle of the picture; its shorter side is first brought to that of size / cropPct.
export function centerCrop(picture, [height, width], cropPct, interpolation) {
  const fullHeight = Math.floor(height / cropPct);
  const fullWidth = Math.floor(width / cropPct);
  let sides = [picture.width, picture.height];
  if (fullHeight === fullWidth) {
    const shorter = Math.min(...sides);
    sides = sides.map((side) =>
      side === shorter ? fullWidth : Math.trunc((fullWidth * side) / shorter));
  } else {
    const ratio = Math.min(picture.width / fullWidth, picture.height / fullHeight);
    sides = sides.map((side) => round(side / ratio));
  }
  const whole = resize(picture, ...sides, interpolation);
  const left = round((whole.width - width) / 2);
  const top = round((whole.height - height) / 2);
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const start = 3 * ((top + y) * whole.width + left);
    pixels.set(whole.pixels.subarray(start, start + 3 * width), 3 * y * width);
  }
  return { pixels, width, height };
}
