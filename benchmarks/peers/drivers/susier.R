# susieR, on traits and genotypes whose covariates are taken out.
suppressMessages(library(susieR))
words <- commandArgs(TRUE); folder <- words[2]; out <- words[3]; limit <- as.numeric(words[4])
table <- function(name) unname(as.matrix(read.table(file.path(folder, name))))
Y <- table("Y.txt"); X <- table("X.txt"); G <- table("G.txt"); windows <- table("windows.txt")
fine_map <- function() {
  started <- proc.time()[["elapsed"]]
  left <- t(qr.Q(qr(X), complete = TRUE)[, -seq_len(ncol(X))])
  pips <- list()
  for (gene in seq_len(nrow(windows))) {
    near <- G[, (windows[gene, 1] + 1):windows[gene, 2]]
    found <- susie(left %*% near, drop(left %*% Y[, gene]), L = 10, intercept = FALSE)
    pips[[gene]] <- found$pip
    if (proc.time()[["elapsed"]] - started > limit) break
  }
  do.call(rbind, pips)
}
times <- list()
for (which in c("first", "warm")) {
  took <- system.time(pip <- fine_map())
  times[[which]] <- took[["elapsed"]]
  times[[paste0(which, "_cpu")]] <- took[["user.self"]] + took[["sys.self"]]
}
write.csv(data.frame(pip = pip), file.path(out, "answer.csv"), row.names = FALSE)
writeLines(paste0("{", paste0('"', names(times), '": ', unlist(times), collapse = ", "), "}"),
           file.path(out, "times.json"))
