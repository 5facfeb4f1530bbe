# lme4 with a kinship: the effects of individuals turned by a root of K, as the pedigreemm package does.
suppressMessages({ library(lme4); library(Matrix) })
words <- commandArgs(TRUE); folder <- words[2]; out <- words[3]
table <- function(name) as.matrix(read.table(file.path(folder, name)))
K <- table("K.txt"); y <- table("Y.txt")[, 1]; X <- table("X.txt")
dimnames(K) <- dimnames(X) <- NULL
fit <- function() {
  data <- data.frame(y = y, id = factor(seq_along(y)))
  control <- lmerControl(check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore")
  parts <- lFormula(y ~ 0 + X + (1 | id), data, REML = TRUE, control = control)
  parts$reTrms$Zt <- as(as(chol(K), "CsparseMatrix"), "generalMatrix")
  deviance <- do.call(mkLmerDevfun, parts)
  ratio <- optimizeLmer(deviance)$par^2
  ratio / (1 + ratio)
}
times <- list()
for (which in c("first", "warm")) {
  took <- system.time(hsq <- fit())
  times[[which]] <- took[["elapsed"]]
  times[[paste0(which, "_cpu")]] <- took[["user.self"]] + took[["sys.self"]]
}
write.csv(data.frame(hsq = hsq), file.path(out, "answer.csv"), row.names = FALSE)
writeLines(paste0("{", paste0('"', names(times), '": ', unlist(times), collapse = ", "), "}"),
           file.path(out, "times.json"))
