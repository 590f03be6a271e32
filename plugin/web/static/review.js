// A rejection needs a comment: say so before the form is sent. The server checks it again.
export function startReview(form) {
  const comment = form.querySelector("textarea");
  for (const button of form.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const isMissing = "needsComment" in button.dataset && !comment.value.trim();
      comment.setCustomValidity(isMissing ? "Say why the result is rejected." : "");
    });
  }
  comment.addEventListener("input", () => comment.setCustomValidity(""));
}
