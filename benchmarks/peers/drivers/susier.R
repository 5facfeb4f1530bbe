# susieR, on traits and genotypes whose covariates are taken out.
suppressMessages(library(susieR))
Y <- read("Y.txt"); X <- read("X.txt"); G <- read("G.txt"); windows <- read("windows.txt")
run <- function() {
  left <- t(qr.Q(qr(X), complete = TRUE)[, -seq_len(ncol(X))])
  in_turn(nrow(windows), function(gene) {
    near <- left %*% G[, (windows[gene, 1] + 1):windows[gene, 2]]
    susie(near, drop(left %*% Y[, gene]), L = 10, intercept = FALSE)$pip
  })
}
