# The server, the public CAs that AWS's certificates need, and nothing else: no shell, no libraries, nothing setuid.
# infra/docker/build.sh puts both files into the build context.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY fluidity-server /fluidity-server
USER 65532:65532
EXPOSE 443/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/fluidity-server", "healthcheck"]
ENTRYPOINT ["/fluidity-server"]
CMD ["run"]
