// Runs in the app's page, put there by `probe.rs`. It looks only at what the operator would see (the rows on the screen)
// and at what the page was given (the live messages), never into the page's own state.
const VIEWER = '[data-testid=log-viewer]';
const STAMP = /^#(\d+) (\d+) /;
const MOST = 20;

const probe = {
  /** Lines seen on the screen for the first time: [number, printed (µs of boot time), seen (ms of wall time)]. */
  came: [],
  violations: [],
  frames: 0,
  /** Frames with a row on the screen that had not arrived. */
  waiting: 0,
  deltas: 0,
  rows: 0,
  mostRows: 0,
  lastRow: -1,
  lastLine: -1,
};
window.__probe = probe;

function violation(text) {
  if (probe.violations.length < MOST) probe.violations.push(text);
}

function seenNow() {
  const viewer = document.querySelector(VIEWER);
  return viewer ? [...viewer.querySelectorAll('[data-row]')] : [];
}

let newest = -1;
function look() {
  const now = Date.now();
  for (const row of seenNow()) {
    const text = row.querySelector('[data-text]')?.textContent;
    const stamp = text && STAMP.exec(text);
    if (!stamp) continue;
    const number = Number(stamp[1]);
    if (number > newest) {
      newest = number;
      probe.came.push([number, Number(stamp[2]), now]);
    }
  }
}

// What stands on the screen at a frame: consecutive rows, each with its own line.
function frame() {
  probe.frames++;
  let before = null;
  let waits = false;
  for (const row of seenNow()) {
    const number = Number(row.dataset.row);
    if (before !== null && number !== before + 1) violation(`on the screen, row ${number} follows ${before}`);
    before = number;
    if (!row.dataset.seq) {
      waits = true;
      continue;
    }
    const stamp = STAMP.exec(row.querySelector('[data-text]')?.textContent ?? '');
    if (stamp && Number(stamp[1]) !== number) violation(`on the screen, row ${number} shows line ${stamp[1]}`);
  }
  if (waits) probe.waiting++;
  requestAnimationFrame(frame);
}

// What the page was given: every row of every window delta, in order, without a hole.
function lookAtMessages() {
  const parse = JSON.parse;
  JSON.parse = function (...given) {
    const value = parse.apply(this, given);
    const window = value?.data;
    if ((value?.type === 'delta' || value?.type === 'snapshot') && Array.isArray(window?.rows) && 'total_rows' in window) {
      if (value.type === 'snapshot') probe.lastRow = -1;
      else probe.deltas++;
      probe.mostRows = Math.max(probe.mostRows, window.rows.length);
      for (const row of window.rows) {
        if (probe.lastRow >= 0 && row.row > probe.lastRow + 1)
          violation(`row ${row.row} came behind ${probe.lastRow}`);
        if (row.row > probe.lastRow) {
          probe.lastRow = row.row;
          probe.rows++;
        }
        const stamp = STAMP.exec(row.text);
        if (!stamp) continue;
        if (Number(stamp[1]) !== row.row) violation(`row ${row.row} holds line ${stamp[1]}`);
        probe.lastLine = Math.max(probe.lastLine, Number(stamp[1]));
      }
    }
    return value;
  };
}

/** Looks at each message, each row that comes and each frame, from now on. It has its price: who measures something else leaves it. */
probe.watch = () => {
  lookAtMessages();
  new MutationObserver(look).observe(document.body, {
    subtree: true,
    childList: true,
    characterData: true,
    attributes: true,
    attributeFilter: ['data-row'],
  });
  requestAnimationFrame(frame);
};

/** Calls `done` with the milliseconds since `begun`, behind the painting of the first frame in which `shown()` holds. */
probe.painted = (begun, shown, done) => {
  const check = () => {
    // callbacks of a frame run before it is painted, timers behind it
    if (shown()) setTimeout(() => done(performance.now() - begun), 0);
    else requestAnimationFrame(check);
  };
  requestAnimationFrame(check);
};

/** Goes to `hash` and calls `done` when the log fills the screen. */
probe.open = (hash, done) => {
  const begun = performance.now();
  location.hash = hash;
  probe.painted(
    begun,
    () => {
      const viewer = document.querySelector(VIEWER);
      return viewer?.dataset.complete === 'true' && viewer.querySelectorAll('[data-row][data-seq]').length > 10;
    },
    done,
  );
};

/** Goes to a record of the open log and calls `done` when its row is in sight. */
probe.jump = (hash, seq, done) => {
  const begun = performance.now();
  location.hash = hash;
  probe.painted(
    begun,
    () => {
      const row = document.querySelector(`${VIEWER} [data-seq="${seq}"] [data-text]`);
      if (!row) return false;
      const box = row.getBoundingClientRect();
      return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight;
    },
    done,
  );
};

/** Types `text` into the log's search and calls `done` when its matches are counted and drawn beside the log. */
probe.findAll = (text, done) => {
  const input = document.querySelector('.tools .find input');
  const type = (value) => {
    input.value = value;
    input.dispatchEvent(new Event('input', { bubbles: true }));
  };
  const begun = performance.now();
  type(text);
  probe.painted(
    begun,
    () => {
      const count = document.querySelector('.tools .find [role=status]')?.textContent ?? '';
      const drawn = document.querySelector('.strip path.hits')?.getAttribute('d');
      return /\d/.test(count) && !!drawn;
    },
    (took) => {
      type('');
      // What was found is gone before anybody looks for it again.
      probe.painted(begun, () => !document.querySelector('.strip path.hits')?.getAttribute('d'), () => done(took));
    },
  );
};
