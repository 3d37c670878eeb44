# What `cpack` makes of an install: an archive that runs from wherever it is unpacked, and a Debian package.
# The package's Depends are read off the binaries by dpkg-shlibdeps, which knows the packages installed here:
# so a cross build, whose libraries are none of them, makes the archive alone.
set(CPACK_PACKAGE_NAME pare)
set(CPACK_PACKAGE_VENDOR "the pare project")
set(CPACK_PACKAGE_CONTACT "the pare project")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "benchmarks neural-network compression")
set(CPACK_PACKAGE_DESCRIPTION "Runs networks that were quantized and pruned as they would be deployed, and
writes accuracy, time, bytes and counters of each to a CSV file. Methods and
backends are plugins, experiments are scripts in Lua.")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
# Whatever the umask: a plugin folder that everybody may write to would be refused.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(architecture ${CMAKE_SYSTEM_PROCESSOR})
if(architecture STREQUAL "x86_64")
  set(architecture amd64)
elseif(architecture STREQUAL "aarch64")
  set(architecture arm64)
endif()
set(CPACK_PACKAGE_FILE_NAME pare-${PROJECT_VERSION}-linux-${architecture})

set(CPACK_GENERATOR TGZ)
find_program(DPKG_SHLIBDEPS dpkg-shlibdeps)
if(DPKG_SHLIBDEPS AND NOT CMAKE_CROSSCOMPILING)
  list(APPEND CPACK_GENERATOR DEB)
endif()
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${architecture})
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)
