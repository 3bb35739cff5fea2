// 1,000 requests a second for five minutes.
import { ask, duration, rate, thresholds } from "./common.js";

export const options = {
  scenarios: {
    sustained: {
      executor: "constant-arrival-rate",
      rate: rate(1000),
      timeUnit: "1s",
      duration: duration("5m"),
      preAllocatedVUs: 64,
      maxVUs: 512,
    },
  },
  thresholds: { ...thresholds, dropped_iterations: ["rate<1"] },
};

export default ask;
