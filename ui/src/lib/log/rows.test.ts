import { describe, expect, it, vi } from 'vitest';
import { row } from '../../test/fixtures';
import { findHits, matcherFor, paletteColor, parseStyle, pieces } from './ansi';
import { copyRange, COPY_MOST_ROWS } from './copying';
import { PAGE_ROWS, Pages } from './pages';
import { touchScroll } from './pointer';
import { ROW_END, Selection, wordAt } from './selection.svelte';
import { timeOf, visibleControls } from './text';

describe('pages', () => {
  it('holds a bounded number of rows, the latest used', () => {
    const pages = new Pages(4 * PAGE_ROWS);
    for (let page = 0; page < 20; page++) {
      pages.put(Array.from({ length: PAGE_ROWS }, (_, i) => row(page * PAGE_ROWS + i)));
      pages.touch(0);
    }
    expect(pages.held).toBeLessThanOrEqual(4 * PAGE_ROWS);
    expect(pages.get(0)).toBeDefined();
    expect(pages.get(20 * PAGE_ROWS - 1)).toBeDefined();
    expect(pages.get(5 * PAGE_ROWS)).toBeUndefined();
  });

  it('never goes back to an older version of a row', () => {
    const pages = new Pages();
    pages.put([row(3, { open: true, bytes: 5, text: '50 %' })]);
    pages.put([row(3, { open: true, bytes: 9, text: '90 %' })]);
    pages.put([row(3, { open: true, bytes: 7, text: '70 %' })]);
    expect(pages.get(3)?.text).toBe('90 %');
    pages.put([row(3, { open: false, bytes: 10, text: 'done' })]);
    pages.put([row(3, { open: true, bytes: 11, text: 'late' })]);
    expect(pages.get(3)?.text).toBe('done');
  });
});

describe('styles', () => {
  it('knows every token of the contract', () => {
    expect(parseStyle('fg1 bold')).toEqual({ classes: 'a-fg1 a-bold', color: null, background: null });
    expect(parseStyle('fg#ff8800 bg214 italic')).toEqual({
      classes: 'a-italic',
      color: '#ff8800',
      background: paletteColor(214),
    });
  });

  it('drops what is not a style, so that nothing a console says reaches a style sheet', () => {
    expect(parseStyle('fg999 fg#ff880 bg#zzzzzz url(http://x) bold;color:red')).toEqual({
      classes: '',
      color: null,
      background: null,
    });
  });

  it('loses no text, whatever ranges overlap', () => {
    const text = 'ok checking nvidia-driver-535 for the kernel';
    const parts = pieces(
      text,
      [
        [0, 2, 'fg2'],
        [3, 400, 'bold'],
      ],
      [
        { start: 1, end: 5 },
        { start: 12, end: 18 },
      ],
      { start: 4, end: 14 },
    );
    expect(parts.map((part) => part.text).join('')).toBe(text);
    expect(parts.find((part) => part.text === 'nv')?.classes).toBe('a-bold hit selected');
  });
});

describe('finding in a row', () => {
  it('takes plain text literally', () => {
    expect(findHits('a.c abc', matcherFor('a.c', false, false))).toEqual([{ start: 0, end: 3 }]);
  });
  it('is bounded, and survives patterns that match nothing', () => {
    expect(findHits('x'.repeat(5000), matcherFor('x', false, false))).toHaveLength(200);
    expect(findHits('abc', matcherFor('z*', true, false))).toEqual([]);
    expect(matcherFor('(', true, false)).toBeNull();
  });
});

describe('hostile text', () => {
  it('shows control characters and direction overrides, at the same length', () => {
    const text = 'safe\u001b[31m \u202eexe.txt\u2066\u0007\u007f\u009b';
    const shown = visibleControls(text);
    expect(shown).toHaveLength(text.length);
    expect(shown).toContain('␛');
    expect(shown).not.toMatch(/[\u202e\u2066\u0007\u007f\u009b]/);
  });

  it('shows what is not seen at all, and leaves alone what words and emoji are made of', () => {
    const text = 'in\u200bvi\u00adsi\ufeffble\u{e0041}\u2028';
    expect(visibleControls(text)).toBe('in�vi�si�ble���');
    expect(visibleControls(text)).toHaveLength(text.length);
    const fine = 'ünïcode \t 👩\u200d🔧 می\u200cخواهم';
    expect(visibleControls(fine)).toBe(fine);
  });
});

describe('selection', () => {
  it('is the same in both directions', () => {
    const forward = new Selection();
    forward.begin({ row: 2, offset: 3 });
    forward.extend({ row: 5, offset: 1 });
    const backward = new Selection();
    backward.begin({ row: 5, offset: 1 });
    backward.extend({ row: 2, offset: 3 });
    for (const number of [1, 2, 3, 5, 6]) {
      expect(forward.within(number, 10)).toEqual(backward.within(number, 10));
    }
    expect(forward.within(2, 10)).toEqual({ start: 3, end: 10 });
    expect(forward.within(5, 10)).toEqual({ start: 0, end: 1 });
    expect(forward.within(6, 10)).toBeNull();
  });

  it('takes a path as one word', () => {
    const text = 'Signing /lib/modules/6.1.0-27/nvidia.ko now';
    const word = wordAt(text, 15);
    expect(text.slice(word.start, word.end)).toBe('/lib/modules/6.1.0-27/nvidia.ko');
  });
});

describe('copying', () => {
  async function* read(from: number, to: number) {
    for (let first = from; first <= to; first += 1000) {
      yield Array.from({ length: Math.min(1000, to - first + 1) }, (_, i) => row(first + i));
    }
  }

  it('fetches rows far beyond those on screen', async () => {
    const copied = await copyRange({ start: { row: 10, offset: 5 }, end: { row: 2500, offset: 4 } }, read);
    const lines = copied.text.split('\n');
    expect(lines).toHaveLength(2491);
    expect(lines[0]).toBe('10');
    expect(lines[1]).toBe('line 11');
    expect(lines.at(-1)).toBe('line');
    expect(copied.cut).toBe(false);
  });

  it('is bounded, and says so', async () => {
    const copied = await copyRange(
      { start: { row: 0, offset: 0 }, end: { row: COPY_MOST_ROWS + 5, offset: ROW_END } },
      read,
    );
    expect(copied.rows).toBe(COPY_MOST_ROWS);
    expect(copied.cut).toBe(true);
  });
});

it('tells time since the start, and before it', () => {
  expect(timeOf(row(0, { at: 112_204_000 }), 'start', 0, [])).toBe('+1:52.204');
  expect(timeOf(row(0, { at: 0 }), 'start', 310_000, [])).toBe('−0:00.310');
});

describe('touch', () => {
  function touched() {
    const rows = document.createElement('div');
    rows.innerHTML = '<div data-row="7"><span>line</span></div>';
    const box = (top: number, bottom: number) => () => ({ top, bottom }) as DOMRect;
    rows.getBoundingClientRect = box(0, 100);
    rows.firstElementChild!.getBoundingClientRect = box(0, 100);
    const viewer = { scrollBy: vi.fn() };
    const ontap = vi.fn();
    const stop = touchScroll(rows, viewer, ontap);
    const fire = (type: string, clientY: number) => {
      const event = new MouseEvent(type, { clientX: 20, clientY, bubbles: true });
      Object.assign(event, { pointerType: 'touch', pointerId: 1 });
      rows.querySelector('span')!.dispatchEvent(event);
    };
    return { viewer, ontap, stop, fire };
  }

  it('tells a tap from a scroll', () => {
    const { viewer, ontap, stop, fire } = touched();
    fire('pointerdown', 50);
    fire('pointermove', 47);
    fire('pointerup', 47);
    expect(ontap).toHaveBeenCalledExactlyOnceWith({ row: 7, offset: 0 });
    fire('pointerdown', 50);
    fire('pointermove', 20);
    fire('pointerup', 20);
    expect(viewer.scrollBy).toHaveBeenLastCalledWith(1.5);
    // the finger that stops the glide points at nothing
    fire('pointerdown', 50);
    fire('pointerup', 50);
    expect(ontap).toHaveBeenCalledOnce();
    fire('pointerdown', 50);
    fire('pointerup', 50);
    expect(ontap).toHaveBeenCalledTimes(2);
    stop();
  });

  it('takes a drag that the browser took over for no tap', () => {
    const { ontap, stop, fire } = touched();
    fire('pointerdown', 50);
    fire('pointercancel', 50);
    expect(ontap).not.toHaveBeenCalled();
    stop();
  });
});
