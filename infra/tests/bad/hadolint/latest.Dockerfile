# refused: DL3007
FROM debian:latest
COPY fluidity /fluidity
