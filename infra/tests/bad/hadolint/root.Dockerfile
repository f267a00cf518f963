# refused: DL3002
FROM debian:13.1
COPY fluidity /fluidity
USER root
