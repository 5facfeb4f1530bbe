# Runs a driver written in R, whose file comes first: reads tables, asks a program twice, writes what
# it found and took.
words <- commandArgs(TRUE)
task <- words[2]; folder <- words[3]; out <- words[4]; limit <- as.numeric(words[5])

read <- function(name) unname(as.matrix(read.table(file.path(folder, name))))

# A row each of so many, one after the other, until the time is over.
in_turn <- function(count, one) {
  started <- proc.time()[["elapsed"]]
  found <- list()
  for (k in seq_len(count)) {
    found[[k]] <- one(k)
    if (proc.time()[["elapsed"]] - started > limit) break
  }
  do.call(rbind, found)
}

source(words[1])  # Defines `run`.
times <- list()
for (which in c("first", "warm")) {
  took <- system.time(found <- run())
  times[[which]] <- took[["elapsed"]]
  times[[paste0(which, "_cpu")]] <- took[["user.self"]] + took[["sys.self"]]
}
write.csv(found, file.path(out, "answer.csv"), row.names = FALSE)
writeLines(paste0("{", paste0('"', names(times), '": ', unlist(times), collapse = ", "), "}"),
           file.path(out, "times.json"))
