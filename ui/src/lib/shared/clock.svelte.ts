/**
 * The collector's time, ticking once a second while the page is visible and the collector is heard.
 *
 * Durations of running things are computed against the collector's clock, not this machine's,
 * so a wrong clock at the desk does not invent waiting times. Without a connection nobody knows
 * what still runs, and no duration grows.
 */
export class Clock {
  /** Microseconds since the Unix epoch, by the collector's clock. */
  now = $state(Date.now() * 1000);
  private offsetUs = 0;

  start(heard: () => boolean): () => void {
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible' && heard()) this.tick();
    }, 1000);
    return () => clearInterval(timer);
  }

  tick(): void {
    this.now = Date.now() * 1000 + this.offsetUs;
  }

  /** Learns the offset from one answer; half the round trip is taken as the way back. */
  learn(serverNow: number, askedAtMs: number, answeredAtMs: number): void {
    this.offsetUs = serverNow - ((askedAtMs + answeredAtMs) / 2) * 1000;
    this.tick();
  }
}
