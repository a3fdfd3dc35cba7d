// On a phone the places are a row to be pushed: begin where we are.

document
  .querySelector(".console__place[aria-current]")
  ?.scrollIntoView({ block: "nearest", inline: "center", behavior: "instant" });
