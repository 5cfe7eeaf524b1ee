// Hot JavaScript: two functions that stay hot, one calling the other. Run with --perf-basic-prof.
// usage: node --perf-basic-prof js_burn.js
'use strict';
const fs = require('fs');

function burnSquares(limit) {
  let sum = 0;
  for (let i = 1; i < limit; i++) {
    sum = (sum + i * i) % 1000003;
  }
  return sum;
}

function burnRound(rounds) {
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    sum += burnSquares(200000 + (sum % 7));
  }
  return sum;
}

// Until both are compiled, so that the map names them before anyone samples.
let total = burnRound(200);
fs.writeSync(1, 'ready\n');
for (let tick = 1; ; tick++) {
  total += burnRound(50);
  fs.writeSync(1, `tick ${tick} ${total % 10}\n`);
}
